# SPDX-License-Identifier: Apache-2.0
"""Makes of raw measurements what people read: a summary, the table of findings.py, plots, and the README's numbers.

    report.py MEASURED.json COSTS.json [--more ROWS.json]... --json RESULT.json --out DIR [--plots] [--save]

MEASURED comes from chiral-bench, COSTS from chiral-bench-costs, ROWS from side_by_side.py and shaped_link. RESULT holds both and the summary. bench/run calls it.
"""
import argparse
import dataclasses
import json
import pathlib
import re
import shutil
import sys

from findings import factor_text, find, losses_text, targets_count, targets_text
from measured import LABELS, Results, hold_up_bytes, middle, of_repetitions, p999, ratio, starved, tail_ratio

ROOT = pathlib.Path(__file__).resolve().parent.parent
STORED = ROOT / "bench" / "results"


def summarise(results):
    summary = {}
    engine, floor = results.writer("engine", 0), results.writer("bare_memcpy", 0)
    summary["update_over_memcpy_p50"] = ratio(engine["p50_ns"], floor["p50_ns"])
    summary["update_over_memcpy_paired"] = middle(of_repetitions(engine, floor, "p50_of_repetitions_ns"))
    summary["update_over_memcpy_one_buffer_p50"] = ratio(engine["p50_ns"], results.writer("bare_memcpy_one", 0)["p50_ns"])
    summary["update_over_memcpy_p50_by_bytes"] = {
        str(row["bytes"]): ratio(row["p50_ns"], results.writer("bare_memcpy", 0, row["bytes"])["p50_ns"])
        for row in results.all("contention", comparator="engine", readers=0, pace="flat_out", load="idle", role="writer")}
    summary["commit_pin_8cam_ns"] = results.cost("commit_and_pin_8_cameras/640")
    summary["commit_pin_8cam_ns_by_width"] = {
        str(width): results.cost(f"commit_and_pin_8_cameras/{width}") for width in (64, 640, 1920)}
    rtt = {"rtt_over_floor_p50": {}, "rtt_over_floor_p99": {}, "rtt_plain_over_floor_p50": {}, "rtt_plain_over_floor_p99": {}}
    cost, ticks, user, floor_cost, calls, allocations = {}, {}, {}, {}, {}, {}
    for row in results.all("round_trip", way="bare_tcp"):
        name = str(row["cameras"]) if "640x480" in row["observation"] else row["observation"]
        for way, key in (("policy_client", "rtt_over_floor"), ("plain_websocket", "rtt_plain_over_floor")):
            other = results.find("round_trip", way=way, observation=row["observation"])
            rtt[key + "_p50"][name] = ratio(other["p50_ns"], row["p50_ns"])
            rtt[key + "_p99"][name] = ratio(other["p99_ns"] or other["max_ns"], row["p99_ns"] or row["max_ns"])
        floor_cost[name] = results.find("server_cost", way="bare_tcp", observation=row["observation"])["outside_calls_us"]
        used = [r for r in results.all("server_cost", observation=row["observation"]) if r["way"] != "bare_tcp"]
        cost[name] = max(r["outside_calls_us"] for r in used)
        ticks[name] = max(r["user_by_ticks_us"] for r in used)
        # Time outside of calls has all user time in it, so where the few ticks say more they are wrong.
        user[name] = max(min(r["user_by_ticks_us"], r["outside_calls_us"]) for r in used)
        calls[name] = max(r["kernel_calls"] for r in used)
        allocations[name] = max(r["allocations"] for r in used)
    summary.update(rtt)
    summary["server_cpu_us_per_obs"] = cost
    summary["server_cpu_by_ticks_us_per_obs"] = ticks
    summary["server_user_cpu_us_per_obs"] = user
    summary["bare_tcp_cpu_us_per_obs"] = floor_cost
    summary["server_kernel_calls_per_obs"] = calls
    summary["allocs_per_obs"] = max(allocations.values())
    ratios, tails, ended = {}, {}, {}
    for name in LABELS:
        few, many = results.writer(name, 0), results.writer(name, 8)
        if few is None or many is None:  # stored before this comparator was there
            continue
        ratios[name], tails[name], ended[name] = tail_ratio(many, few), p999(many), starved(many)
    summary["writer_p999_ratio_8_readers"] = ratios["engine"]
    summary["writer_p999_ratio_8_readers_by_comparator"] = ratios
    each = of_repetitions(results.writer("engine", 8), results.writer("engine", 0), "p999_of_repetitions_ns")
    summary["writer_p999_ratio_8_readers_paired"] = middle(each)
    summary["writer_p999_ratio_8_readers_of_repetitions"] = each
    summary["writer_p999_8_readers_ns_by_comparator"] = tails
    summary["starved_repetitions_8_readers_by_comparator"] = ended
    for key in ("p50", "max"):
        summary[f"writer_held_up_by_stopped_reader_{key}_ns"] = {
            r["comparator"]: r[f"longest_update_{key}_ns"] for r in results.all("hold_up", bytes=hold_up_bytes(results))}
    summary["action_latency_us"] = {
        r["load"]: {"p50": r["p50_ns"] / 1e3, "p99": (r["p99_ns"] or r["max_ns"]) / 1e3} for r in results.all("action")}
    return summary


def rows_in(told):
    """Of side_by_side.py as they are, and what shaped_link tells, as rows."""
    return told if isinstance(told, list) else [{"experiment": "shaped_link", **result} for result in told["results"]]


MOST_COMPANY = 0.05  # of all cores; what else ran meanwhile is in the numbers


def verdict(finding):
    return {True: "met", False: "MISSED", None: ""}[finding.met]


def print_table(found, machine):
    print(targets_text(found))
    print(losses_text(found))
    company = company_text(machine)
    if company:
        print(company)
    group = None
    for finding in found:
        if finding.group != group:
            group = finding.group
            print(f"\n{group}")
        print(f"  {finding.what:<46} {finding.ours:<18} {finding.rival:<34} {finding.target} {verdict(finding)}".rstrip())
        print(f"      {finding.sentence}")
    print()


def company_text(machine):
    """What else the machine did, if that was much."""
    company = machine.get("company")
    if company is None or company <= MOST_COMPANY:
        return ""
    return f"This run had company: other programs used {100 * company:.0f} % of the machine. Do not believe its times."


def markdown(found, machine):
    company = machine.get("company")
    text = [f"Measured on {machine['cpu']}, {machine['cores']} cores, {machine['kernel']}, {machine['compiler']}"
            f"{', commit ' + machine['commit'] if machine['commit'] else ''}"
            + ("" if company is None else f", other programs used {100 * company:.1f} % of the machine")
            + "; raw results in [results/result.json](results/result.json).", "", targets_text(found), "", losses_text(found)]
    group = None
    for finding in found:
        if finding.group != group:
            group = finding.group
            text += ["", f"**{group}**", "", "| what | this engine | rival | ratio | target | in words |", "| --- | --- | --- | --- | --- | --- |"]
        word = {True: " met", False: " **missed**", None: ""}[finding.met]
        text.append(f"| {finding.what} | {finding.ours} | {finding.rival} | {'' if finding.ratio is None else f'{finding.ratio:.3g}'} "
                    f"| {finding.target}{word} | {finding.sentence} |")
    return "\n".join(text) + "\n"


# The README's numbers: a row of the table, what it is in a few words, and the command that measures it alone.
HEADLINES = (
    ("held up by 8 readers, p99.9", "an update of a 640x480 image, p99.9, flat out beside 8 readers that never pause", "chiral-bench --only contention"),
    ("pin 8 cameras, beside mutex", "a look at eight RGB-D cameras, all of one instant", "chiral-bench-costs"),
    ("next image, 17 MB, C++, beside iceoryx2", "an image of 17 MB, from publishing to a view of it in another process of the same machine",
     "bench/side_by_side.py --only handover"),
    ("8 x 640x480 RGB-D, p50", "an observation of eight RGB-D cameras, 17 MB, over loopback", "chiral-bench --only observations"),
    ("as a policy wants it, age, p50", "four RGB-D cameras at 30 Hz over 100 Mbit/s, how old when the policy has them: as 224x224 JPEG with 16-bit depth, beside everything as documented",
     'bench/shaped_link --only "100 Mbit/s"'),
    ("next image, 17 MB, Python, beside iceoryx2", "the 17 MB to another process, which is in Python", "bench/side_by_side.py --only handover"),
)


def headlines(found, machine):
    by_name = {finding.what: finding for finding in found}
    text = ["| what | this engine | rival | ratio | command |", "| --- | --- | --- | --- | --- |"]
    for name, words, command in HEADLINES:
        finding = by_name.get(name)
        if finding is None:
            text.append(f"| {words} | not measured in the stored run | | | `{command}` |")
        else:
            text.append(f"| {words} | {finding.ours} | {finding.rival} | {'' if finding.ratio is None else factor_text(finding.ratio)} | `{command}` |")
    return "\n".join(text) + (f"\n\nMedians, but where p99.9 is said. {targets_count(found)}: bench/README.md names them. {machine['cpu']}, {machine['cores']} cores, "
                              f"{machine['compiler']}{', commit ' + machine['commit'] if machine['commit'] else ''}. The programs are in `build/bench/bench` after `bench/run`.\n")


def write(path, whole):
    """Readable, and a row per line: a stored result is compared with the next one."""
    def part(value):
        if isinstance(value, list):
            return "[\n  " + ",\n  ".join(json.dumps(row) for row in value) + "\n ]"
        return json.dumps(value)
    path.write_text("{\n " + ",\n ".join(f"{json.dumps(key)}: {part(value)}" for key, value in whole.items()) + "\n}\n")


def put_between_markers(path, text, marker="bench"):
    old = path.read_text()
    new, count = re.subn(rf"(<!-- {marker} -->\n).*?(<!-- /{marker} -->)", lambda m: m[1] + text + m[2], old, flags=re.DOTALL)
    if count != 1:
        sys.exit(f"{path}: expected one pair of markers <!-- {marker} --> and <!-- /{marker} -->, found {count}")
    path.write_text(new)


def say_where_none_is_stored(path):
    """Python's figures are python_numbers.py's to write, where that is run; nothing between the markers would look like an oversight."""
    if "<!-- python -->\n<!-- /python -->" in path.read_text():
        put_between_markers(path, "None stored yet.\n", "python")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("measured", type=pathlib.Path)
    parser.add_argument("costs", type=pathlib.Path)
    parser.add_argument("--json", type=pathlib.Path, required=True, help="where to write results and summary")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for the plots")
    parser.add_argument("--more", type=pathlib.Path, action="append", default=[], help="further rows, if the file is there")
    parser.add_argument("--commit", help="which sources were measured, if they are not those that the programs name")
    parser.add_argument("--company", type=float, help="the part of the machine that other programs used meanwhile, 0 to 1")
    parser.add_argument("--plots", action="store_true", help="draw them; needs matplotlib")
    parser.add_argument("--save", action="store_true", help="make these the stored results")
    arguments = parser.parse_args()

    results = Results(json.loads(arguments.measured.read_text()), json.loads(arguments.costs.read_text()))
    for path in arguments.more:
        if path.exists():
            results.rows += rows_in(json.loads(path.read_text()))
    if arguments.commit:
        results.measured["machine"]["commit"] = arguments.commit
    if arguments.company is not None:
        results.measured["machine"]["company"] = arguments.company
    summary = summarise(results)
    table = find(results, summary)
    calls = [{key: b[key] for key in ("run_name", "aggregate_name", "real_time", "cpu_time", "time_unit")}
             for b in results.costs["benchmarks"] if b.get("run_type") == "aggregate"]
    write(arguments.json, {"summary": summary, "table": [dataclasses.asdict(row) for row in table], **results.measured, "single_calls": calls})
    print_table(table, results.measured["machine"])
    drawn = []
    if arguments.plots:
        import plots
        drawn = plots.draw(results, arguments.out)
    if arguments.save and company_text(results.measured["machine"]):
        sys.exit("report.py: not stored, because of that company")
    if arguments.save:
        STORED.mkdir(exist_ok=True)
        shutil.copy(arguments.json, STORED / "result.json")
        for plot in drawn:
            shutil.copy(plot, STORED / plot.name)
        put_between_markers(ROOT / "bench" / "README.md", markdown(table, results.measured["machine"]))
        say_where_none_is_stored(ROOT / "bench" / "README.md")
        put_between_markers(ROOT / "README.md", headlines(table, results.measured["machine"]))
    print(f"raw results: {arguments.json}" + (f", plots: {arguments.out}/*.svg" if arguments.plots else ""))


if __name__ == "__main__":
    main()
