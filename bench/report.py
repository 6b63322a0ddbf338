# SPDX-License-Identifier: Apache-2.0
"""Makes of raw measurements what people read: a summary, a table with a sentence for each row, plots, and the README's numbers.

    report.py MEASURED.json COSTS.json --json RESULT.json --out DIR [--plots] [--save]

MEASURED comes from chiral-bench, COSTS from chiral-bench-costs. RESULT holds both and the summary. bench/run calls it.
"""
import argparse
import json
import pathlib
import re
import shutil
import sys

from measured import (FLOORS, LABELS, VGA, Results, at_least, ended_by_us, hold_up_bytes, middle, of_repetitions, p999, ratio, say, starved,
                      tail_ratio, tail_text, times, times_text)

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


# Each line: what, figure, target, met, sentence. `met` is None where there is no target.

def lines(results, summary):
    out = []

    def line(what, figure, target, met, sentence):
        out.append({"what": what, "figure": figure, "target": target, "met": met, "sentence": sentence})

    def limited(what, value, limit, sentence, unit="x"):
        if value is None:
            line(what, "-", f"<= {limit} {unit}".strip(), None, sentence)
        else:
            line(what, f"{value:.3g} {unit}".strip(), f"<= {limit} {unit}".strip(), value <= limit, sentence)

    engine, mutex = results.writer("engine", 8), results.writer("mutex", 8)
    line("held up by 8 readers, p99.9", f"{tail_text(engine)}, mutex {tail_text(mutex)}", "", None,
         "a writer that is flat out, beside 8 readers that never pause, needs for an update of a 640x480 image "
         f"{times_text(engine)}; with a mutex {times_text(mutex)}")
    others = [name for name in LABELS if name not in FLOORS and name not in ("engine", "mutex")]
    waiting = ("mutex_priority_inheritance", "shared_mutex")
    line("the same in other designs, p99.9", ", ".join(
        f"{short} {tail_text(results.writer(name, 8))}" for short, name in
        (("shared_ptr", "shared_ptr_swap"), ("Boost", "boost_lockfree_queue"), ("moodycamel", "moodycamel_queue"))), "", None,
        "this engine is one of the designs whose writer waits for nobody. Also: " + "; ".join(
            f"{LABELS[name]} {tail_text(results.writer(name, 8))}{ended_by_us(results.writer(name, 8))}"
            for name in others if name in waiting or name in ("engine_in_place", "seqlock")))
    for size, load in ((VGA, "idle"), (VGA, "busy"), (1920 * 1080 * 3, "idle")):
        engine, mutex = (results.writer(name, 8, size, "at_rate", load) for name in ("engine", "mutex"))
        if not engine:
            continue
        picture = "a 640x480 image" if size == VGA else "a 1920x1080 image"

        def rated(row):
            return (f"p50 {say(row['p50_ns'])}, p99 {say(row['p99_ns'])}, p99.9 {tail_text(row)}, "
                    f"max {at_least(row)}{say(row['max_ns'])}")
        factor = ratio(mutex["p50_ns"], engine["p50_ns"])
        word = "not compared" if factor is None else "faster" if factor < 0.95 else "slower" if factor > 1.05 else "as fast"
        enough = p999(mutex) is not None and p999(engine) is not None
        far, worse = ("p99.9", ratio(p999(mutex), p999(engine))) if enough else ("longest", ratio(mutex["max_ns"], engine["max_ns"]))
        line(f"at rate, 8 readers, {'every core busy' if load == 'busy' else 'idle'}, {size / 1e6:.2g} MB",
             f"p50 {say(engine['p50_ns'])}, mutex {say(mutex['p50_ns'])}", "", None,
             f"an update of {picture} 500 times a second, beside readers that look at periods of their own: {rated(engine)} "
             f"({engine['samples']} updates); with a mutex {rated(mutex)}{ended_by_us(mutex)}: at this rate a mutex is {word} "
             f"in the median, and its {far} is {times(worse)} this engine's")
    middles, maxima = (summary[f"writer_held_up_by_stopped_reader_{key}_ns"] for key in ("p50", "max"))
    line("held up by a stopped reader", f"{say(middles['engine'])}, mutex {say(middles['mutex'])}", "", None,
         "while a reader is stopped for 20 ms in the middle of a look, the longest update takes this long in the median of "
         f"{results.find('hold_up', comparator='engine')['stops']} stops; at most {say(maxima['engine'])}, with a mutex "
         f"{say(maxima['mutex'])}")
    few, many = results.writer("engine", 0), results.writer("engine", 8)
    factors, pairs = summary["writer_p999_ratio_8_readers_by_comparator"], summary["writer_p999_ratio_8_readers_of_repetitions"]
    slow = results.writer("mutex", 8)
    paired = "too few samples to compare in single repetitions"
    if pairs:
        paired = f"{times(middle(pairs))} in the median of the {len(pairs)} repetitions that have both"
    limited("writer's p99.9, 8 readers / none", summary["writer_p999_ratio_8_readers"], 1.2,
            f"p99.9 is {tail_text(many)} beside 8 readers and {tail_text(few)} without ({paired}); the longest update of all took {say(many['max_ns'])} and "
            f"{say(few['max_ns'])}. In place the factor is {times(factors['engine_in_place'])}, with a mutex "
            f"{at_least(slow)}{times(factors['mutex'])}, for memcpy beside 8 other readers {times(factors['bare_memcpy'])}; without "
            "readers, designs with one buffer begin lower, so compare times, not factors")
    limited("update / memcpy, p50", summary["update_over_memcpy_p50"], 1.05,
            "an update of a 640x480 image costs what copying it into the next of two buffers costs "
            f"({say(results.writer('engine', 0)['p50_ns'])}). One buffer over and over stays in the cache and is cheaper: memcpy "
            f"{say(results.writer('bare_memcpy_one', 0)['p50_ns'])}, and a mutex that nobody else wants "
            f"{say(results.writer('mutex', 0)['p50_ns'])}")
    small = results.writer("engine", 0, 64)
    line("update / memcpy, 64 B, p50", times(summary["update_over_memcpy_p50_by_bytes"]["64"]), "", None,
         f"small values are above: {say(small['p50_ns'])}, which are two clock readings and bookkeeping, for 64 bytes that memcpy "
         f"copies in {say(results.writer('bare_memcpy', 0, 64)['p50_ns'])} and a mutex protects for "
         f"{say(results.writer('mutex', 0, 64)['p50_ns'])}")
    limited("commit and pin 8 cameras", summary["commit_pin_8cam_ns"], 1000,
            "eight RGB-D cameras filled in place are published with their poses and pinned for a reader in this time, whatever "
            "their size; on one thread, back to back, caches warm", "ns")
    for cameras in ("1", "4", "8"):
        observation = f"{cameras} x 640x480 RGB-D"
        took = results.find("round_trip", way="policy_client", observation=observation)
        floor = results.find("round_trip", way="bare_tcp", observation=observation)
        plain = summary["rtt_plain_over_floor_p50"][cameras]
        sentence = (f"an observation of {cameras} RGB-D camera{'s' if cameras != '1' else ''} takes {say(took['p50_ns'])}, the "
                    f"same bytes over bare TCP {say(floor['p50_ns'])} (read but not decoded: {plain:.3g} x); {took['samples']} of each")
        if cameras == "8":
            limited("round trip / bare TCP, 8 cameras, p50", summary["rtt_over_floor_p50"][cameras], 1.15, sentence)
            limited("round trip / bare TCP, 8 cameras, p99", summary["rtt_over_floor_p99"][cameras], 1.3,
                    f"and of a hundred the slowest {say(took['p99_ns'] or took['max_ns'])}, over bare TCP "
                    f"{say(floor['p99_ns'] or floor['max_ns'])}")
        else:
            line(f"round trip / bare TCP, {cameras} camera{'s' if cameras != '1' else ''}, p50",
                 f"{summary['rtt_over_floor_p50'][cameras]:.3g} x", "", None, sentence)
    hd = results.find("round_trip", way="policy_client", observation="4 x 1920x1080 RGB")
    if hd:
        line("round trip / bare TCP, 4 x 1080p, p50", f"{summary['rtt_over_floor_p50']['4 x 1920x1080 RGB']:.3g} x", "", None,
             f"an observation of four 1080p cameras takes {say(hd['p50_ns'])}")
    bound, user = summary["server_cpu_us_per_obs"], summary["server_user_cpu_us_per_obs"]
    worst = max(user, key=user.get)
    line("server's user-space CPU per observation", f"{user[worst]:.3g} us, at most {max(bound.values()):.3g} us", "<= 200 us",
         user[worst] <= 200,
         f"by the kernel's ticks of 4 ms, at its largest ({worst if ' ' in worst else worst + ' cameras'}). The second figure is an upper "
         "bound, CPU time outside system calls, with interrupts and the network's soft interrupts in it, at its largest as well; "
         f"measured alike, a bare TCP loop has up to {max(summary['bare_tcp_cpu_us_per_obs'].values()):.3g} us")
    limited("allocations per observation", summary["allocs_per_obs"], 0, "the robot's process allocates nothing in the steady state", "")
    for load, sentence in (("idle", "an action reaches apply_action() this long after its whole message was read and decoded; mostly the "
                                    "waking of a sleeping core"),
                           ("observations", "the same while four cameras are observed at 30 Hz"),
                           ("busy", "the same with every core busy as well: no core has to be woken, but the thread may have to wait "
                                    "for its turn")):
        value = summary["action_latency_us"][load]
        line(f"action, {load}", f"{say(value['p50'] * 1e3)}, p99 {say(value['p99'] * 1e3)}", "", None, sentence)
    largest = max(r["bytes"] for r in results.all("reader_age"))
    for name in ("engine", "engine_in_place", "mutex"):
        row = results.find("reader_age", comparator=name, bytes=largest)
        line(f"age at a reader: {LABELS[name]}", f"{say(row['p50_ns'])}, max {say(row['max_ns'])}", "", None,
             f"from the driver having {largest / 1e6:.2g} MB of pixels to a reader holding them, which waits for a number that "
             f"says that there are new ones, without sleeping; {row['samples']} updates")
    for asks, sentence in (("next", "of the picture that a client holds, if get_obs() waits for the next one"),
                           ("newest", "the same if it sends the newest there is: up to a period of the camera, 33 ms, is waiting to be asked")):
        row = results.find("client_age", asks_for=asks)
        line(f"age at the client, {asks} frame", f"{say(row['p50_ns'])}, max {say(row['max_ns'])}", "", None,
             f"{sentence}; {row['samples']} observations")
    return out


def print_table(rows):
    for row in rows:
        verdict = {True: "met", False: "MISSED", None: ""}[row["met"]]
        target = f"{row['target']} {verdict}".strip()
        print(f"{row['what']:<42} {row['figure']:<26} {target}")
        print(f"    {row['sentence']}")


def markdown(rows, machine):
    text = [f"Measured on {machine['cpu']}, {machine['cores']} cores, {machine['kernel']}, {machine['compiler']}"
            f"{', commit ' + machine['commit'] if machine['commit'] else ''}, load average {machine['load_average_before']:.2g} before; raw results in "
            "[results/result.json](results/result.json).", "",
            "| what | measured | target | in words |", "| --- | --- | --- | --- |"]
    for row in rows:
        verdict = {True: " met", False: " **missed**", None: ""}[row["met"]]
        text.append(f"| {row['what']} | {row['figure']} | {row['target']}{verdict} | {row['sentence']} |")
    return "\n".join(text) + "\n"


# The README's six numbers: a row of the table, and what it says in a few words.
HEADLINES = (
    ("held up by 8 readers, p99.9", "an update of a 640x480 image, flat out beside 8 readers that never pause"),
    ("held up by a stopped reader", "the longest update while a reader is stopped for 20 ms"),
    ("update / memcpy, p50", "an update of a 640x480 image against copying it"),
    ("commit and pin 8 cameras", "publishing eight RGB-D cameras filled in place, and pinning them for a reader"),
    ("round trip / bare TCP, 8 cameras, p50", "an observation of eight RGB-D cameras against the same bytes over bare TCP"),
    ("action, idle", "from an action's last byte to `apply_action()`"),
)


def headlines(rows, machine):
    by_name = {row["what"]: row for row in rows}
    text = ["| measured | what |", "| --- | --- |"]
    text += [f"| {by_name[name]['figure']} | {words} |" for name, words in HEADLINES]
    return "\n".join(text) + f"\n\n{machine['cpu']}, {machine['cores']} cores, {machine['compiler']}.\n"


def write(path, whole):
    """Readable, and a row per line: a stored result is compared with the next one."""
    def part(value):
        if isinstance(value, list):
            return "[\n  " + ",\n  ".join(json.dumps(row) for row in value) + "\n ]"
        return json.dumps(value)
    path.write_text("{\n " + ",\n ".join(f"{json.dumps(key)}: {part(value)}" for key, value in whole.items()) + "\n}\n")


def put_between_markers(path, text):
    old = path.read_text()
    new, count = re.subn(r"(<!-- bench -->\n).*?(<!-- /bench -->)", lambda m: m[1] + text + m[2], old, flags=re.DOTALL)
    if count != 1:
        sys.exit(f"{path}: expected one pair of markers <!-- bench --> and <!-- /bench -->, found {count}")
    path.write_text(new)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("measured", type=pathlib.Path)
    parser.add_argument("costs", type=pathlib.Path)
    parser.add_argument("--json", type=pathlib.Path, required=True, help="where to write results and summary")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for the plots")
    parser.add_argument("--commit", help="which sources were measured, if they are not those that the programs name")
    parser.add_argument("--plots", action="store_true", help="draw them; needs matplotlib")
    parser.add_argument("--save", action="store_true", help="make these the stored results")
    arguments = parser.parse_args()

    results = Results(json.loads(arguments.measured.read_text()), json.loads(arguments.costs.read_text()))
    if arguments.commit:
        results.measured["machine"]["commit"] = arguments.commit
    summary = summarise(results)
    table = lines(results, summary)
    calls = [{key: b[key] for key in ("run_name", "aggregate_name", "real_time", "cpu_time", "time_unit")}
             for b in results.costs["benchmarks"] if b.get("run_type") == "aggregate"]
    write(arguments.json, {"summary": summary, "table": table, **results.measured, "single_calls": calls})
    print_table(table)
    drawn = []
    if arguments.plots:
        import plots
        drawn = plots.draw(results, arguments.out)
    if arguments.save:
        STORED.mkdir(exist_ok=True)
        shutil.copy(arguments.json, STORED / "result.json")
        for plot in drawn:
            shutil.copy(plot, STORED / plot.name)
        put_between_markers(ROOT / "bench" / "README.md", markdown(table, results.measured["machine"]))
        put_between_markers(ROOT / "README.md", headlines(table, results.measured["machine"]))
    print(f"raw results: {arguments.json}" + (f", plots: {arguments.out}/*.svg" if arguments.plots else ""))


if __name__ == "__main__":
    main()
