# SPDX-License-Identifier: Apache-2.0
"""What the measurements say: rows of one idea each, in groups. Every word that compares is chosen by the numbers, so that no
result can make a sentence untrue; tests/bench/report_test.py feeds it results that nobody hopes for."""

from dataclasses import dataclass, field

from measured import LABELS, VGA, ended_by_us, p999, ratio, say, starved, tail_text, times

CLOSE = 1.05  # what a ratio within this factor differs by is not called a difference
HD = 1920 * 1080 * 3


@dataclass
class Finding:
    group: str
    what: str
    ours: str
    sentence: str
    rival: str = ""
    ratio: float | None = None  # ours to the rival's: above 1 we take longer
    target: str = ""
    met: bool | None = None  # None where there is no target, or nothing to judge
    lost: bool = field(init=False)

    def __post_init__(self):
        self.lost = self.ratio is not None and self.ratio > CLOSE


def takes(value, rival, least=False):
    """'takes 1.08 times as long as memcpy'. `least`: the rival was ended by us, and would have taken longer."""
    if value is None:
        return f"is not compared {rival if rival.startswith(('with ', 'over ')) else 'with ' + rival}, for want of samples"
    if value > CLOSE:
        return f"takes {value:.3g} times as long as {rival}"
    if value < 1 / CLOSE:
        return f"is {'at least ' if least else ''}{1 / value:.3g} times as fast as {rival}"
    return f"takes as long as {rival}, within {100 * (CLOSE - 1):.0f} %"


def factor_text(value):
    """'3.1 x quicker', for where there is little room."""
    return f"{value:.3g} x slower" if value > 1 else f"{1 / value:.3g} x quicker"


def judged(value, limit, unit=" x"):
    """Target and whether it is met."""
    return {"target": f"<= {limit:g}{unit}", "met": None if value is None else value <= limit}


def picture(size):
    return {VGA: "a 640x480 image", HD: "a 1920x1080 image"}.get(size) or (
        f"{size / 1e6:.2g} MB" if size >= 1e6 else f"{size / 1e3:.3g} kB" if size >= 1e3 else f"{size} bytes")


def of_tails(ours, rivals):
    """The ratio of two p99.9; none where one has too few samples. What we ended may have been longer: then ours is smaller still."""
    return ratio(p999(ours), p999(rivals))


# ---- a writer beside readers ----

def beside_readers(results, summary):
    group = "A writer beside readers"
    found = []
    engine, mutex = results.writer("engine", 8), results.writer("mutex", 8)
    value = of_tails(engine, mutex)
    found.append(Finding(
        group, "held up by 8 readers, p99.9", tail_text(engine), f"an update of a 640x480 image, flat out, "
        f"{takes(value, 'with a mutex', starved(mutex))}{ended_by_us(mutex)}", f"mutex {tail_text(mutex)}", value))
    middles, longest = (summary[f"writer_held_up_by_stopped_reader_{key}_ns"] for key in ("p50", "max"))
    value = ratio(middles["engine"], middles["mutex"])
    found.append(Finding(
        group, "held up by a stopped reader", say(middles["engine"]),
        f"the longest update while a reader sleeps for 20 ms in a look {takes(value, 'with a mutex')}; at most {say(longest['engine'])}",
        f"mutex {say(middles['mutex'])}", value))
    others = {name: results.writer(name, 8) for name in ("shared_ptr_swap", "boost_lockfree_queue", "moodycamel_queue")}
    known = {name: row for name, row in others.items() if p999(row) is not None}
    if known:
        best = min(known, key=lambda name: p999(known[name]))
        value = of_tails(engine, known[best])
        found.append(Finding(
            group, "beside the best that waits for nobody", tail_text(engine),
            f"the same update {takes(value, 'the best of the designs whose writers wait for nobody either')}",
            f"{LABELS[best]} {tail_text(known[best])}", value))
    few = results.writer("engine", 0)
    value = summary["writer_p999_ratio_8_readers"]
    found.append(Finding(group, "p99.9 beside 8 readers / none", times(value),
                         f"{tail_text(engine)} beside them, {tail_text(few)} without", **judged(value, 1.2)))
    for size, load in ((VGA, "idle"), (VGA, "busy"), (HD, "idle")):
        ours, rivals = (results.writer(name, 8, size, "at_rate", load) for name in ("engine", "mutex"))
        if ours and rivals:
            found.append(at_rate(group, results, size, load, ours, rivals))
    for size in sorted({row["bytes"] for row in results.all("contention", role="writer", readers=1, pace="flat_out", load="idle")}):
        ours, rivals = results.writer("engine", 1, size), results.writer("mutex", 1, size)
        if ours and rivals:
            value = ratio(ours["p50_ns"], rivals["p50_ns"])
            found.append(Finding(group, f"one reader, {picture(size)}, p50", say(ours["p50_ns"]),
                                 f"flat out, an update {takes(value, 'with a mutex')}", f"mutex {say(rivals['p50_ns'])}", value))
    return found


def at_rate(group, results, size, load, ours, rivals):
    value = ratio(ours["p50_ns"], rivals["p50_ns"])
    far = of_tails(ours, rivals)
    sentence = f"500 times a second, the median {takes(value, 'with a mutex')}; p99.9 {takes(far, 'with a mutex', starved(rivals))}"
    idle = results.writer("engine", 8, size, "at_rate", "idle")
    if load == "busy" and idle and idle["p50_ns"] and ours["p50_ns"] and ours["p50_ns"] * CLOSE < idle["p50_ns"]:
        sentence += f"; on idle cores, which sleep between two updates, it is {say(idle['p50_ns'])}"
    cores = "every core busy" if load == "busy" else "idle"
    return Finding(group, f"at rate, 8 readers, {cores}, {picture(size)}", say(ours["p50_ns"]), sentence, f"mutex {say(rivals['p50_ns'])}", value)


# ---- single calls ----

def single_calls(results, summary):
    group = "Single calls"
    found = []
    engine, floor = results.writer("engine", 0), results.writer("bare_memcpy", 0)
    value = summary["update_over_memcpy_p50"]
    found.append(Finding(group, "update / memcpy, 640x480", times(value),
                         f"an update of {say(engine['p50_ns'])} {takes(value, 'a memcpy into the next of two buffers')}",
                         f"memcpy {say(floor['p50_ns'])}", value, **judged(value, 1.05)))
    one = results.writer("bare_memcpy_one", 0)
    value = ratio(engine["p50_ns"], one["p50_ns"])
    found.append(Finding(group, "update / memcpy into one buffer", times(value),
                         f"an update {takes(value, 'a memcpy into one buffer over and over, which stays in the cache')}",
                         f"memcpy {say(one['p50_ns'])}", value))
    small, smallest = results.writer("engine", 0, 64), results.writer("mutex", 0, 64)
    value = ratio(small["p50_ns"], smallest["p50_ns"])
    found.append(Finding(group, "update of 64 bytes, no reader", say(small["p50_ns"]),
                         f"clock and bookkeeping; it {takes(value, 'with a mutex that nobody else wants')}",
                         f"mutex {say(smallest['p50_ns'])}", value))
    pin = results.cost("pin_8_cameras/640")
    for name, label, words in (("mutex", "mutex", "copying them out, each under its mutex"),
                               ("triple_buffer", "triple buffers", "eight triple buffers, which show no one instant")):
        other = results.cost_or_none(f"look_at_8_cameras/{name}")
        if other is not None:
            value = ratio(pin, other)
            found.append(Finding(group, f"pin 8 cameras, beside {label}", say(pin), f"a look at eight RGB-D cameras at one instant {takes(value, words)}",
                                 f"{label} {say(other)}", value))
    value = summary["commit_pin_8cam_ns"]
    found.append(Finding(group, "commit and pin 8 cameras", say(value),
                         "eight RGB-D cameras filled in place, published and pinned; one thread, caches warm",
                         target="<= 1000 ns", met=None if value is None else value <= 1000))
    return found


# ---- observations ----

def observations(results, summary):
    group = "An observation over loopback"
    found = []
    for row in results.all("round_trip", way="bare_tcp"):
        name = row["observation"]
        key = str(row["cameras"]) if "640x480" in name else name
        took = results.find("round_trip", way="policy_client", observation=name)
        value = summary["rtt_over_floor_p50"][key]
        sentence = f"asked for, received and decoded it {takes(value, 'the same bytes over bare TCP')}"
        if value is not None and value < 1 / CLOSE:
            sentence += ", which therefore is no floor here" + (f", though the fastest of its {row['shapes']} shapes" if "shapes" in row else "")
        found.append(Finding(group, f"{name}, p50", say(took["p50_ns"]), sentence, f"bare TCP {say(row['p50_ns'])}", value,
                             **(judged(value, 1.15) if key == "8" else {})))
        if key == "8":
            far = summary["rtt_over_floor_p99"][key]
            found.append(Finding(group, f"{name}, p99", say(took["p99_ns"] or took["max_ns"]),
                                 f"of a hundred the slowest {takes(far, 'over bare TCP')}",
                                 f"bare TCP {say(row['p99_ns'] or row['max_ns'])}", far, **judged(far, 1.3)))
    user, most = summary["server_user_cpu_us_per_obs"], summary["server_cpu_us_per_obs"]
    worst = max(user, key=user.get)
    by = worst if " " in worst else f"{worst} x 640x480 RGB-D"
    sure = user[worst] < most[worst]
    floor = summary["bare_tcp_cpu_us_per_obs"][worst]
    found.append(Finding(group, "server's user-space CPU", say(user[worst] * 1e3) + ("" if sure else " at most"),
                         f"for each of the dearest, {by}" + (f"; surely below {say(most[worst] * 1e3)}" if sure else
                                                             ", all that was not in system calls"),
                         f"bare TCP {say(floor * 1e3)}", ratio(user[worst], floor), "<= 200 us", user[worst] <= 200))
    value = summary["allocs_per_obs"]
    found.append(Finding(group, "allocations", f"{value:g}", "of the robot's process for each observation in the steady state",
                         **judged(value, 0, "")))
    return found


def on_one_machine(results, _summary):
    group = "A client on the robot's own machine"
    found = []
    for row in results.all("round_trip", way="local"):
        other = results.find("round_trip", way="policy_client", observation=row["observation"])
        value = ratio(row["p50_ns"], other["p50_ns"])
        found.append(Finding(group, f"{row['observation']}, local, p50", say(row["p50_ns"]),
                             f"asked for and looked at where it lies it {takes(value, 'over WebSocket')}",
                             f"WebSocket {say(other['p50_ns'])}", value))
    for row in results.all("local_age"):
        words = "waits for the next picture" if row["asks_for"] == "next" else "takes the newest picture there is"
        found.append(Finding(group, f"age at a local client, {row['asks_for']} frame", say(row["p50_ns"]),
                             f"get_obs() {words}; at most {say(row['max_ns'])}"))
    return found


PEERS = {"bare_futex": "a bare futex", "iceoryx2_polling_rust": "iceoryx2 polling", "iceoryx2_polling_python": "iceoryx2 polling",
         "iceoryx2_rust": "iceoryx2", "iceoryx2_python": "iceoryx2", "zenoh_python": "Zenoh", "chiral_websocket": "our WebSocket",
         "chiral_websocket_python": "our WebSocket", "grpc": "gRPC", "grpc_python": "gRPC", "websockets_python": "websockets + msgpack"}
RIVALS_ON_ONE_MACHINE = {"chiral": (("iceoryx2_rust", 0.5), ("bare_futex", None), ("chiral_websocket", None)),
                         "chiral_polling": (("iceoryx2_polling_rust", None),), "chiral_polling_python": (("iceoryx2_polling_python", None),),
                         "chiral_python": (("iceoryx2_python", 0.55), ("zenoh_python", None), ("chiral_websocket_python", None))}


def megabytes(size):
    return f"{size / 1e6:.2g} MB"


def language(way):
    return "Python" if way.endswith("python") else "Rust" if way.endswith("rust") else "C++"


def handed_over(results, _summary):
    """From publishing an image until another process of the machine has it in hand."""
    group = "An image to another process of the same machine"
    sizes = sorted({row["bytes"] for row in results.all("handover")})
    found = []
    for way, rivals in RIVALS_ON_ONE_MACHINE.items():
        for size in sizes:
            ours = results.find("handover", way=way, bytes=size, asks_for="next")
            for rival, most in rivals:
                other = results.find("handover", way=rival, bytes=size, asks_for="next")
                if ours and other:
                    found += next_image(group, way, ours, rival, other, most, size == sizes[-1])
        if "polling" not in way:
            found += size_does_not_matter(group, results, way, sizes)
    for way, rival, most in (("chiral", "iceoryx2_rust", 2000), ("chiral_python", "iceoryx2_python", None)):
        for size in sizes:
            ours, other = (results.find("handover", way=name, bytes=size, asks_for="newest") for name in (way, rival))
            if ours:
                value = ratio(ours["p50_ns"], other and other["p50_ns"])
                sentence = "getting at the newest image without waiting for the next"
                if other:
                    sentence += f" {takes(value, f'with iceoryx2 in {language(rival)}')}"
                found.append(Finding(group, f"newest image, {megabytes(size)}, {language(way)}", say(ours["p50_ns"]), sentence,
                                     f"iceoryx2 {say(other['p50_ns'])}" if other else "", value,
                                     "" if most is None else f"<= {most} ns", None if most is None else ours["p50_ns"] <= most))
    return found


def next_image(group, way, ours, rival, other, most, largest):
    """The median, and the tail where both have one."""
    name = next_name(way, ours["bytes"])
    value = ratio(ours["p50_ns"], other["p50_ns"])
    with_whom = f"with {PEERS[rival]} in {language(rival)}"
    if rival == "chiral_websocket" and largest:
        most = 0.02
    rows = [Finding(group, f"{name}, beside {PEERS[rival]}", say(ours["p50_ns"]), f"from publishing to a view in hand{polling(way)} it {takes(value, with_whom)}",
                    f"{PEERS[rival]} {say(other['p50_ns'])}", value, **({} if most is None else judged(value, most)))]
    if rival.startswith("iceoryx2"):
        far = ratio(ours["p99_ns"], other["p99_ns"])
        rows.append(Finding(group, f"{name}, p99", say(ours["p99_ns"]), f"of a hundred the slowest {takes(far, with_whom)}",
                            f"{PEERS[rival]} {say(other['p99_ns'])}", far, **(judged(far, 1.0) if rival == "iceoryx2_rust" else {})))
    return rows


def next_name(way, size):
    return f"next image, {megabytes(size)}, {language(way)}{', polling' if 'polling' in way else ''}"


def polling(way):
    return ", looked for from half a millisecond before it is due instead of slept for," if "polling" in way else ""


def size_does_not_matter(group, results, way, sizes):
    rows = [results.find("handover", way=way, bytes=size, asks_for="next") for size in sizes]
    if len(rows) < 2 or None in rows:
        return []
    value = ratio(rows[-1]["p50_ns"], rows[0]["p50_ns"])
    return [Finding(group, f"next image, {megabytes(sizes[-1])} / {megabytes(sizes[0])}, {language(way)}", times(value),
                    f"{say(rows[-1]['p50_ns'])} for the larger, {say(rows[0]['p50_ns'])} for the smaller", **judged(value, 1.1))]


def sensor_beside_clients(results, _summary):
    rows = sorted(results.all("sensor"), key=lambda row: row["readers"])
    if len(rows) < 2:
        return []
    without, beside = rows[0], rows[-1]
    value = ratio(p999(beside), p999(without))
    return [Finding("An image to another process of the same machine", f"sensor thread's p99.9, {beside['readers']} clients / none", times(value),
                    f"updates of a 640x480 image, 100 a second: {say(p999(beside) or beside['max_ns'])} beside clients that take every image and read "
                    f"all of it, {say(p999(without) or without['max_ns'])} without", **judged(value, 1.2))]


def over_loopback(results, _summary):
    """Beside what others made for asking over a network."""
    found = []
    for way, rivals in (("chiral", ("grpc",)), ("chiral_python", ("grpc_python", "zenoh_python", "websockets_python"))):
        for rival in rivals:
            ours, other = (results.find("asked_for", way=name) for name in (way, rival))
            if ours and other:
                value = ratio(ours["p50_ns"], other["p50_ns"])
                found.append(Finding("An observation over loopback", f"{megabytes(ours['bytes'])} beside {PEERS[rival]}, {language(way)}", say(ours["p50_ns"]),
                                     f"asked for and there in whole arrays it {takes(value, f'with {PEERS[rival]} in {language(rival)}')}",
                                     f"{PEERS[rival]} {say(other['p50_ns'])}", value))
    return found


def over_a_cable(results, _summary):
    """Age of observations over a link that is shaped, when the policy has them; in ns, as all that is compared."""
    def age(server, asked):
        row = results.find("shaped_link", link="100 Mbit/s", server=server, asked_for=asked)
        return row and row["age_ms"] and row["age_ms"]["p50"] * 1e6
    documented = age("documented", "everything")
    found = []
    for asked, words in (("everything", "as documented"), ("224x224 jpeg, 16-bit depth", "as a policy wants it")):
        ours = age("chiral", asked)
        if ours and documented:
            value = ratio(ours, documented)
            found.append(Finding("Four RGB-D cameras at 30 Hz over 100 Mbit/s", f"{words}, age, p50", say(ours),
                                 f"{asked}: from capture to the policy it {takes(value, 'everything from the documented server')}",
                                 f"documented server {say(documented)}", value))
    return found


def over_zenoh(results, _summary):
    row = results.find("zenoh_round_trip", way="zenoh")
    if row is None:
        return []
    found = []
    for way, name in (("policy_client", "WebSocket"), ("bare_tcp", "bare TCP")):
        other = results.find("zenoh_round_trip", way=way)
        value = ratio(row["p50_ns"], other["p50_ns"])
        found.append(Finding("Over Zenoh", f"{row['observation']}, beside {name}, p50", say(row["p50_ns"]),
                             f"asked for, received and decoded it {takes(value, 'over ' + name)}",
                             f"{name} {say(other['p50_ns'])}", value))
    return found


def actions(results, summary):
    group = "An action"
    about = {"idle": "on an idle machine", "observations": "while four cameras are observed at 30 Hz", "busy": "with every core busy as well"}
    return [Finding(group, f"from message to hook, {load}", say(summary["action_latency_us"][load]["p50"] * 1e3),
                    f"from the whole message to apply_action(), {words}; p99 {say(summary['action_latency_us'][load]['p99'] * 1e3)}")
            for load, words in about.items() if load in summary["action_latency_us"]]


def ages(results, _summary):
    group = "The age of a picture"
    found = []
    largest = max(row["bytes"] for row in results.all("reader_age"))
    rival = results.find("reader_age", comparator="mutex", bytes=largest)
    for name in ("engine", "engine_in_place"):
        row = results.find("reader_age", comparator=name, bytes=largest)
        value = ratio(row["p50_ns"], rival["p50_ns"])
        found.append(Finding(group, f"at a reader: {LABELS[name]}", say(row["p50_ns"]),
                             f"{largest / 1e6:.2g} MB from the driver to a reader that waits for them: {takes(value, 'with a mutex')}",
                             f"mutex {say(rival['p50_ns'])}", value))
    for asks, words in (("next", "get_obs() waits for the next picture"), ("newest", "get_obs() takes the newest picture there is")):
        row = results.find("client_age", asks_for=asks)
        found.append(Finding(group, f"at the client, {asks} frame", say(row["p50_ns"]), f"{words}; at most {say(row['max_ns'])}"))
    return found


def find(results, summary):
    parts = (beside_readers, single_calls, observations, over_loopback, over_a_cable, on_one_machine, handed_over, sensor_beside_clients, over_zenoh,
             actions, ages)
    return [finding for part in parts for finding in part(results, summary)]


# ---- what stands above the table ----

def as_ratio(finding):
    """What is judged, where that is not the figure itself."""
    is_judged = finding.target.endswith(" x") and not finding.ours.endswith(" x") and finding.ratio is not None
    return f", {finding.ratio:.3g} x" if is_judged else ""


def targets_count(findings):
    return f"Targets: {sum(f.met is True for f in findings)} met, {sum(f.met is False for f in findings)} missed"


def targets_text(findings):
    """'Targets: 4 met, 1 missed (update / memcpy: 1.08 x, <= 1.05).'"""
    missed = [f for f in findings if f.met is False]
    unjudged = [f for f in findings if f.target and f.met is None]
    text = targets_count(findings)
    if missed:
        text += " (" + "; ".join(f"{f.what}: {f.ours}{as_ratio(f)}, target {f.target}" for f in missed) + ")"
    if unjudged:
        text += f", {len(unjudged)} not judged for want of samples (" + "; ".join(f.what for f in unjudged) + ")"
    return text + "."


def losses_text(findings):
    """Where a rival is better, the worst first."""
    lost = sorted((f for f in findings if f.lost), key=lambda f: -f.ratio)
    if not lost:
        return "No rival was more than 5 % quicker in any row."
    return "Where a rival is quicker: " + "; ".join(f"{f.what} ({f.ours}, {f.rival})" for f in lost) + "."
