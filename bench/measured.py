# SPDX-License-Identifier: Apache-2.0
"""Raw measurements by what they are about, and how figures are written; what report.py and plots.py stand on."""

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
    "triple_buffer": "triple buffer for each reader",
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

    def cost_or_none(self, name):
        return self.cost(name) if any(benchmark["run_name"] == name for benchmark in self.costs["benchmarks"]) else None


def p999(row):
    """None with fewer than 1000 samples, of which the longest says less."""
    return row["p999_ns"]


def tail(row):
    """p99.9, or the longest of a row that has none: to be shown, not to be compared."""
    return row["max_ns"] if p999(row) is None else p999(row)


def starved(row):
    """Repetitions that ended only because the readers were stopped: the real figures are larger, nobody knows how much."""
    return row["starved_repetitions"]


def at_least(row):
    return ">= " if starved(row) else ""


def tail_text(row):
    return at_least(row) + say(tail(row)) + (f" (longest of {row['samples']})" if p999(row) is None else "")


def ended_by_us(row):
    return f", ended by us in {starved(row)} of {row['repetitions']} repetitions" if starved(row) else ""


def times_text(row):
    """p50, p99.9 and max of a writer."""
    return f"p50 {say(row['p50_ns'])}, p99.9 {tail_text(row)}, max {at_least(row)}{say(row['max_ns'])}{ended_by_us(row)}"


def ratio(a, b):
    return None if a is None or not b else a / b


def tail_ratio(many, few):
    """Of p99.9. In the place of one that is missing may stand the longest above, where it can only add, and never below."""
    return ratio(tail(many), p999(few))


def of_repetitions(over, under, key):
    """The ratio in every repetition that has both: what disturbs a repetition disturbs both alike."""
    return [a / b for a, b in zip(over[key], under[key]) if a and b]


def middle(ratios):
    return sorted(ratios)[len(ratios) // 2] if ratios else None


def times(value):
    return "-" if value is None else f"{value:.3g} x"


def hold_up_bytes(results):
    return max(r["bytes"] for r in results.all("hold_up"))
