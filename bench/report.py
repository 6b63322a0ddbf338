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

ROOT = pathlib.Path(__file__).resolve().parent.parent
STORED = ROOT / "bench" / "results"
VGA = 640 * 480 * 3
LABELS = {
    "bare_memcpy": "memcpy, two buffers by turns",
    "bare_memcpy_one": "memcpy, one buffer",
    "engine": "this engine, update",
    "engine_in_place": "this engine, in place",
    "mutex": "std::mutex (documented design)",
    "mutex_priority_inheritance": "mutex, priority inheritance",
    "shared_mutex": "std::shared_mutex",
    "shared_ptr_swap": "atomic<shared_ptr> swap",
    "seqlock": "seqlock",
    "boost_lockfree_queue": "Boost.Lockfree queue",
    "moodycamel_queue": "moodycamel queue",
}
FLOORS = ("bare_memcpy", "bare_memcpy_one")


def say(ns):
    """Three digits and the unit that fits."""
    if ns is None:
        return "-"
    for limit, scale, unit in ((999.5, 1, "ns"), (999.5e3, 1e3, "us"), (999.5e6, 1e6, "ms")):
        if ns < limit:
            return f"{ns / scale:.3g} {unit}"
    return f"{ns / 1e9:.3g} s"


class Results:
    """Rows by what they are about."""

    def __init__(self, measured, costs):
        self.measured = measured
        self.costs = costs
        self.rows = measured["rows"]

    def find(self, experiment, **about):
        found = [r for r in self.rows if r["experiment"] == experiment and all(r.get(k) == v for k, v in about.items())]
        return found[0] if found else None

    def all(self, experiment, **about):
        return [r for r in self.rows if r["experiment"] == experiment and all(r.get(k) == v for k, v in about.items())]

    def writer(self, comparator, readers, size=VGA, pace="flat_out", load="idle"):
        return self.find("contention", comparator=comparator, readers=readers, bytes=size, pace=pace, load=load, role="writer")

    def cost(self, name):
        """Median over the repetitions, ns of wall time per call."""
        for benchmark in self.costs["benchmarks"]:
            if benchmark.get("aggregate_name") == "median" and benchmark["run_name"] == name:
                return benchmark["real_time"]
        raise KeyError(f"{name} is not in the single calls that were measured")


def tail(row):
    """p99.9; of a row with fewer than 1000 samples the longest, which then is at most that far out."""
    return row["p999_ns"] if row["p999_ns"] is not None else row["max_ns"]


def ratio(a, b):
    return None if a is None or not b else a / b


def paired(over, under):
    """Median over the repetitions of the ratio of their medians: what disturbs a repetition disturbs both alike."""
    ratios = sorted(a / b for a, b in zip(over["p50_of_repetitions_ns"], under["p50_of_repetitions_ns"]) if b)
    return ratios[len(ratios) // 2] if ratios else None


def summarise(results):
    summary = {}
    engine, floor = results.writer("engine", 0), results.writer("bare_memcpy", 0)
    summary["update_over_memcpy_p50"] = ratio(engine["p50_ns"], floor["p50_ns"])
    summary["update_over_memcpy_paired"] = paired(engine, floor)
    summary["update_over_memcpy_one_buffer_p50"] = ratio(engine["p50_ns"], results.writer("bare_memcpy_one", 0)["p50_ns"])
    summary["commit_pin_8cam_ns"] = results.cost("commit_and_pin_8_cameras/640")
    summary["commit_pin_8cam_ns_by_width"] = {
        str(width): results.cost(f"commit_and_pin_8_cameras/{width}") for width in (64, 640, 1920)}
    rtt = {"rtt_over_floor_p50": {}, "rtt_over_floor_p99": {}, "rtt_plain_over_floor_p50": {}, "rtt_plain_over_floor_p99": {}}
    cost, ticks, floor_cost, calls, allocations = {}, {}, {}, {}, {}
    for row in results.all("round_trip", way="bare_tcp"):
        name = str(row["cameras"]) if "640x480" in row["observation"] else row["observation"]
        for way, key in (("policy_client", "rtt_over_floor"), ("plain_websocket", "rtt_plain_over_floor")):
            other = results.find("round_trip", way=way, observation=row["observation"])
            rtt[key + "_p50"][name] = ratio(other["p50_ns"], row["p50_ns"])
            rtt[key + "_p99"][name] = ratio(other["p99_ns"] or other["max_ns"], row["p99_ns"] or row["max_ns"])
        floor_cost[name] = results.find("server_cost", way="bare_tcp", observation=row["observation"])["outside_calls_us"]
        used = [r for r in results.all("server_cost", observation=row["observation"]) if r["way"] != "bare_tcp"]
        cost[name] = max(r["outside_calls_us"] for r in used)
        # The sensor thread, which is left out of all else, is in the ticks; it is there only at 30 Hz.
        ticks[name] = max(r["user_by_ticks_us"] for r in used if r["way"] != "every_frame_at_30_hz")
        calls[name] = max(r["kernel_calls"] for r in used)
        allocations[name] = max(r["allocations"] for r in used)
    summary.update(rtt)
    summary["server_cpu_us_per_obs"] = cost
    summary["server_cpu_by_ticks_us_per_obs"] = ticks
    summary["bare_tcp_cpu_us_per_obs"] = floor_cost
    summary["server_kernel_calls_per_obs"] = calls
    summary["allocs_per_obs"] = max(allocations.values())
    ratios = {}
    for name in LABELS:
        few, many = results.writer(name, 0), results.writer(name, 8)
        ratios[name] = ratio(tail(many), tail(few))
    summary["writer_p999_ratio_8_readers"] = ratios["engine"]
    summary["writer_p999_ratio_8_readers_by_comparator"] = ratios
    summary["writer_held_up_by_stopped_reader_ns"] = {
        r["comparator"]: r["longest_update_p50_ns"] for r in results.all("hold_up", bytes=hold_up_bytes(results))}
    summary["action_latency_us"] = {
        r["load"]: {"p50": r["p50_ns"] / 1e3, "p99": (r["p99_ns"] or r["max_ns"]) / 1e3} for r in results.all("action")}
    return summary


def hold_up_bytes(results):
    return max(r["bytes"] for r in results.all("hold_up"))


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
    line("held up by 8 readers, p99.9", f"{say(tail(engine))}, mutex {say(tail(mutex))}", "", None,
         f"a sensor thread that updates a 640x480 image beside 8 readers waits up to {say(tail(engine))} per update here, "
         f"and up to {say(tail(mutex))} with a mutex")
    stopped = summary["writer_held_up_by_stopped_reader_ns"]
    line("held up by a stopped reader", f"{say(stopped['engine'])}, mutex {say(stopped['mutex'])}", "", None,
         "while a reader is stopped for 20 ms in the middle of a look, the longest update takes this long")
    limited("writer's p99.9, 8 readers / none", summary["writer_p999_ratio_8_readers"], 1.2,
            "readers hardly lengthen the longest updates; "
            f"with a mutex the factor is {summary['writer_p999_ratio_8_readers_by_comparator']['mutex'] or 0:.3g}, for memcpy "
            f"beside 8 other readers {summary['writer_p999_ratio_8_readers_by_comparator']['bare_memcpy'] or 0:.3g}")
    limited("update / memcpy, p50", summary["update_over_memcpy_p50"], 1.05,
            "an update of a 640x480 image costs what copying it into the next of two buffers costs "
            f"({say(results.writer('engine', 0)['p50_ns'])}; one buffer, over and over: "
            f"{say(results.writer('bare_memcpy_one', 0)['p50_ns'])})")
    limited("commit and pin 8 cameras", summary["commit_pin_8cam_ns"], 1000,
            "eight RGB-D cameras filled in place are published and pinned for a reader in this time, whatever their size", "ns")
    for cameras in ("1", "4", "8"):
        observation = f"{cameras} x 640x480 RGB-D"
        took = results.find("round_trip", way="policy_client", observation=observation)
        floor = results.find("round_trip", way="bare_tcp", observation=observation)
        plain = summary["rtt_plain_over_floor_p50"][cameras]
        sentence = (f"an observation of {cameras} RGB-D camera{'s' if cameras != '1' else ''} takes {say(took['p50_ns'])}, the "
                    f"same bytes over bare TCP {say(floor['p50_ns'])} (read but not decoded: {plain:.3g} x)")
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
    worst = max(summary["server_cpu_us_per_obs"], key=summary["server_cpu_us_per_obs"].get)
    limited("server's own CPU per observation", summary["server_cpu_us_per_obs"][worst], 200,
            f"CPU time outside system calls, at its largest ({worst if ' ' in worst else worst + ' cameras'}, "
            f"{summary['server_kernel_calls_per_obs'][worst]:.0f} system calls). Interrupts and the measuring itself are in it: "
            f"measured alike, a bare TCP loop has {summary['bare_tcp_cpu_us_per_obs'][worst]:.3g} us; by the kernel's own ticks, "
            f"back to back, {summary['server_cpu_by_ticks_us_per_obs'][worst]:.3g} us is the server's", "us")
    limited("allocations per observation", summary["allocs_per_obs"], 0, "the robot's process allocates nothing in the steady state", "")
    for load, sentence in (("idle", "an action reaches apply_action() this long after it was received"),
                           ("observations", "the same while four cameras are observed at 30 Hz"),
                           ("busy", "the same with every core busy as well; above all the scheduler's time")):
        value = summary["action_latency_us"][load]
        line(f"action, {load}", f"{say(value['p50'] * 1e3)}, p99 {say(value['p99'] * 1e3)}", "", None, sentence)
    for row in results.all("reader_age"):
        if row["bytes"] == max(r["bytes"] for r in results.all("reader_age")) and row["comparator"] in ("engine", "engine_in_place", "mutex"):
            line(f"age at a reader: {LABELS[row['comparator']]}", f"{say(row['p50_ns'])}, max {say(row['max_ns'])}", "", None,
                 f"from the driver having {row['bytes'] / 1e6:.2g} MB of pixels to a reader holding them")
    for asks, sentence in (("next", "of the picture that a client holds, if get_obs() waits for the next one"),
                           ("newest", "the same if it sends the newest there is: up to a period of the camera, 33 ms, is waiting to be asked")):
        row = results.find("client_age", asks_for=asks)
        line(f"age at the client, {asks} frame", f"{say(row['p50_ns'])}, max {say(row['max_ns'])}", "", None, sentence)
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
            "[bench/results/result.json](bench/results/result.json), how to read them in [bench/README.md](bench/README.md).", "",
            "| what | measured | target | in words |", "| --- | --- | --- | --- |"]
    for row in rows:
        verdict = {True: " met", False: " **missed**", None: ""}[row["met"]]
        text.append(f"| {row['what']} | {row['figure']} | {row['target']}{verdict} | {row['sentence']} |")
    return "\n".join(text) + "\n"


def write(path, whole):
    """Readable, and a row per line: a stored result is compared with the next one."""
    def part(value):
        if isinstance(value, list):
            return "[\n  " + ",\n  ".join(json.dumps(row) for row in value) + "\n ]"
        return json.dumps(value)
    path.write_text("{\n " + ",\n ".join(f"{json.dumps(key)}: {part(value)}" for key, value in whole.items()) + "\n}\n")


def put_between_markers(path, text):
    old = path.read_text()
    new, count = re.subn(r"(<!-- bench -->\n).*?(<!-- /bench -->)", lambda m: m[1] + text + m[2], old, flags=re.S)
    if count != 1:
        sys.exit(f"{path}: expected one pair of markers <!-- bench --> and <!-- /bench -->, found {count}")
    path.write_text(new)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("measured", type=pathlib.Path)
    parser.add_argument("costs", type=pathlib.Path)
    parser.add_argument("--json", type=pathlib.Path, required=True, help="where to write results and summary")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for the plots")
    parser.add_argument("--plots", action="store_true", help="draw them; needs matplotlib")
    parser.add_argument("--save", action="store_true", help="make these the stored results")
    arguments = parser.parse_args()

    results = Results(json.loads(arguments.measured.read_text()), json.loads(arguments.costs.read_text()))
    summary = summarise(results)
    table = lines(results, summary)
    calls = [{key: b[key] for key in ("run_name", "aggregate_name", "real_time", "cpu_time", "time_unit")}
             for b in results.costs["benchmarks"] if b.get("run_type") == "aggregate"]
    write(arguments.json, {"summary": summary, "table": table, **results.measured, "single_calls": calls})
    print_table(table)
    if arguments.plots:
        import plots
        plots.draw(results, summary, arguments.out)
    if arguments.save:
        STORED.mkdir(exist_ok=True)
        shutil.copy(arguments.json, STORED / "result.json")
        for plot in arguments.out.glob("*.svg"):
            shutil.copy(plot, STORED / plot.name)
        put_between_markers(ROOT / "README.md", markdown(table, results.measured["machine"]))
    print(f"raw results: {arguments.json}" + (f", plots: {arguments.out}/*.svg" if arguments.plots else ""))


if __name__ == "__main__":
    main()
