# SPDX-License-Identifier: Apache-2.0
"""The plots of bench/run, as SVG. Colours, order and names of the comparators are the same in all of them."""
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend must be chosen before)
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator  # noqa: E402

from measured import FLOORS, LABELS, VGA, hold_up_bytes, say, tail  # noqa: E402

OURS = "#1f6fb4"
STYLE = {
    "engine": dict(color=OURS, marker="o", linewidth=2.4, zorder=5),
    "engine_in_place": dict(color="#6db3e8", marker="o", linewidth=1.6, zorder=5),
    "mutex": dict(color="#c8321e", marker="s", linewidth=2.4, zorder=4),
    "mutex_priority_inheritance": dict(color="#e8825a", marker="s", linewidth=1.2),
    "shared_mutex": dict(color="#f0b43c", marker="s", linewidth=1.2),
    "shared_ptr_swap": dict(color="#5a9e4b", marker="^", linewidth=1.2),
    "triple_buffer": dict(color="#3a9a9a", marker="^", linewidth=1.2),
    "seqlock": dict(color="#8a5cb5", marker="v", linewidth=1.2),
    "boost_lockfree_queue": dict(color="#7a7a40", marker="D", linewidth=1.2),
    "moodycamel_queue": dict(color="#b0a060", marker="D", linewidth=1.2),
    "bare_memcpy": dict(color="#222222", linestyle="--", linewidth=1.4),
    "bare_memcpy_one": dict(color="#888888", linestyle=":", linewidth=1.4),
}
plt.rcParams.update({"font.size": 9, "svg.hashsalt": "chiral", "svg.fonttype": "none", "axes.spines.top": False,
                     "axes.spines.right": False, "axes.axisbelow": True})
time_axis = FuncFormatter(lambda ns, _: say(ns) if ns > 0 else "0")


def size_text(size):
    return f"{size / 1e6:.2g} MB" if size >= 1e6 else f"{size / 1e3:.3g} kB" if size >= 1e3 else f"{size} B"


def figure(columns=1, height=4.2):
    fig, axes = plt.subplots(1, columns, figsize=(4.6 * columns + 1.6, height), squeeze=False)
    return fig, axes[0]


# Curves that say something of their own; the table has all.
CURVES = ("engine", "engine_in_place", "mutex", "triple_buffer", "bare_memcpy")
NEAREST = 0.05  # two labels beside an axis are at least so far apart, as a part of the axis


def label_ends(axis, ends):
    """Writes each curve's name to the right of its last value; `ends` has (value, name)."""
    low, high = axis.get_ylim()
    apart = (high / low) ** NEAREST
    place = high * apart
    for value, name in sorted(ends, reverse=True):
        place = min(value, place / apart)
        axis.text(1.02, place, LABELS[name], transform=axis.get_yaxis_transform(), fontsize=8, color=STYLE[name]["color"], va="center")


def finish(fig, path):
    fig.tight_layout()
    fig.savefig(path, bbox_inches="tight", metadata={"Date": None})
    plt.close(fig)
    return path


def log_time(axis, label):
    axis.set_yscale("log")
    axis.set_ylabel(label)
    axis.yaxis.set_major_formatter(time_axis)
    axis.grid(True, which="major", color="#dddddd", linewidth=0.6)


def against_readers(results, out):
    """Typical and longest updates against the number of readers: the headline."""
    fig, axes = figure(2)
    labels = []
    for axis, pick, title in ((axes[0], lambda r: r["p50_ns"], "median"), (axes[1], tail, "p99.9")):
        ends = []
        for name in CURVES:
            rows = sorted(results.all("contention", comparator=name, bytes=VGA, pace="flat_out", load="idle", role="writer"),
                          key=lambda r: r["readers"])
            if rows:
                axis.plot([r["readers"] for r in rows], [pick(r) for r in rows], markersize=4, **STYLE[name])
                ends.append((pick(rows[-1]), name))
        log_time(axis, "time of one update")
        axis.set_xlabel("readers, each looking without a pause")
        axis.set_xticks(sorted({r["readers"] for r in results.all("contention", bytes=VGA, pace="flat_out", load="idle")}))
        axis.set_title(f"update of a 640x480 RGB image, {title}", loc="left")
        labels.append((axis, ends))
    low = min(axis.get_ylim()[0] for axis in axes)
    high = max(axis.get_ylim()[1] for axis in axes)
    for axis in axes:
        axis.set_ylim(low, high)
    for axis, ends in labels:
        label_ends(axis, ends)
    return finish(fig, out / "update_against_readers.svg")


def against_size(results, out):
    """Cost of an update and of a look against the payload."""
    readers = 1
    fig, axes = figure(2)
    for axis, role, title in ((axes[0], "writer", "update"), (axes[1], "reader", "look")):
        sizes, ends = set(), []
        for name in CURVES:
            rows = sorted(results.all("contention", comparator=name, readers=readers, pace="flat_out", load="idle", role=role),
                          key=lambda r: r["bytes"])
            rows = [r for r in rows if r["p50_ns"]]
            if rows:
                axis.plot([r["bytes"] for r in rows], [r["p50_ns"] for r in rows], markersize=4, **STYLE[name])
                ends.append((rows[-1]["p50_ns"], name))
                sizes.update(r["bytes"] for r in rows)
        log_time(axis, f"median time of one {title}")
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(FixedLocator(sorted(sizes)))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_major_formatter(FuncFormatter(lambda size, _: size_text(int(round(size)))))
        axis.tick_params(axis="x", labelsize=7)
        axis.set_xlabel("payload")
        axis.set_title(f"{title}, one reader, both without a pause", loc="left")
        label_ends(axis, ends)
    return finish(fig, out / "cost_against_size.svg")


def bars(axis, names, spans, label):
    """One horizontal bar per name from its first to its last value, with a tick at each."""
    for position, (name, span) in enumerate(zip(names, spans)):
        span = [value for value in span if value]
        if not span:
            continue
        colour = STYLE[name]["color"]
        axis.plot([span[0], span[-1]], [position, position], color=colour, linewidth=5, alpha=0.45, solid_capstyle="butt")
        for value, marker in zip(span, "|o|" if len(span) == 3 else "o|"):
            axis.plot([value], [position], color=colour, marker=marker, markersize=9 if marker == "|" else 6, linestyle="none")
    axis.set_yticks(range(len(names)))
    axis.set_yticklabels([LABELS[name] for name in names])
    axis.invert_yaxis()
    axis.set_xscale("log")
    axis.set_xlabel(label)
    axis.xaxis.set_major_formatter(time_axis)
    axis.grid(True, axis="x", which="major", color="#dddddd", linewidth=0.6)


def held_up(results, out):
    """How long a writer waits for a reader that is stopped."""
    rows = {name: results.find("hold_up", comparator=name, bytes=hold_up_bytes(results)) for name in LABELS if name not in FLOORS}
    names = [name for name, row in rows.items() if row]
    fig, axes = figure(1, 3.4)
    axis = axes[0]
    values = [rows[name]["longest_update_p50_ns"] for name in names]
    longest = [rows[name]["longest_update_max_ns"] for name in names]
    axis.barh(range(len(names)), values, color=[STYLE[name]["color"] for name in names], height=0.6)
    axis.plot(longest, range(len(names)), "k|", markersize=9)
    for position, (value, most) in enumerate(zip(values, longest)):
        axis.text(max(value, most) * 1.2, position, say(value), va="center", fontsize=8)
    axis.set_yticks(range(len(names)))
    axis.set_yticklabels([LABELS[name] for name in names])
    axis.invert_yaxis()
    axis.set_xscale("log")
    axis.set_xlim(min(values) / 3, max(longest) * 8)
    axis.xaxis.set_major_formatter(time_axis)
    axis.set_xlabel("longest update meanwhile: median (bar), most (tick)")
    axis.set_title(f"a reader is stopped for 20 ms, looking at {size_text(hold_up_bytes(results))}")
    axis.grid(True, axis="x", which="major", color="#dddddd", linewidth=0.6)
    return finish(fig, out / "held_up_by_a_stopped_reader.svg")


def ages(results, out):
    """From the driver to the reader."""
    size = max(r["bytes"] for r in results.all("reader_age"))
    names = [name for name in LABELS if results.find("reader_age", comparator=name, bytes=size)]
    rows = [results.find("reader_age", comparator=name, bytes=size) for name in names]
    fig, axes = figure(1, 3.4)
    bars(axes[0], names, [(r["p50_ns"], r["max_ns"]) for r in rows], "age when a reader holds it: median (dot) to longest (tick)")
    axes[0].set_title(f"{size_text(size)} at 200 Hz, one reader that waits for the next one without sleeping")
    return finish(fig, out / "age_at_a_reader.svg")


def round_trips(results, out):
    """Observations against the bare TCP loop."""
    ways = (("bare_tcp", "bare TCP, same bytes (floor)", "#222222"), ("plain_websocket", "server, client that does not decode", "#6db3e8"),
            ("policy_client", "server and PolicyClient", OURS))
    cases = [r["observation"] for r in results.all("round_trip", way="bare_tcp")]
    fig, axes = plt.subplots(1, 1, figsize=(8, 4.2), squeeze=False)
    axis = axes[0][0]
    for offset, (way, label, colour) in zip((-0.27, 0, 0.27), ways):
        rows = [results.find("round_trip", way=way, observation=case) for case in cases]
        middle = [r["p50_ns"] for r in rows]
        longest = [(r["p99_ns"] or r["max_ns"]) - m for r, m in zip(rows, middle)]
        places = [i + offset for i in range(len(cases))]
        axis.errorbar(places, middle, yerr=[[0] * len(cases), longest], fmt="o", color=colour, ecolor=colour, capsize=3,
                      linewidth=1.2, label=label)
        for place, value in zip(places, middle):
            axis.annotate(say(value), (place, value), (0, -12), textcoords="offset points", ha="center", fontsize=7)
    log_time(axis, "round trip: median (dot) to p99")
    axis.margins(y=0.12)
    axis.set_xticks(range(len(cases)))
    axis.set_xticklabels([case.replace(" RGB", "\nRGB") for case in cases])
    axis.set_title("one observation, asked for and received")
    axis.legend(frameon=False, fontsize=8, loc="upper left")
    return finish(fig, out / "observation_round_trip.svg")


def draw(results, out):
    """Returns the files."""
    out.mkdir(parents=True, exist_ok=True)
    return [plot(results, out) for plot in (against_readers, against_size, held_up, ages, round_trips)]
