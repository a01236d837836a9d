"""Report cold starts to people: as lines, as a plot, and as the table of a page."""

from __future__ import annotations

import datetime
import os
import platform
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "explanation" / "cold-starts.md"
PLOT = PAGE.parent / "cold_start.svg"

_BEGIN, _END = "<!-- cold start: begin -->\n", "<!-- cold start: end -->"
_COLOURS = ("#9aa0a6", "#1a73e8", "#d93025")

Samples = Mapping[str, Sequence[float]]
"""The milliseconds of each side, by its name, in the order (a), (b), (c)."""


def cost(samples: Samples) -> float:
    """Return what ours adds to a bare handler, as a part of what the usual way adds."""
    bare, ours, usual = (statistics.median(values) for values in samples.values())
    return (ours - bare) / (usual - bare)


def lines(samples: Samples) -> list[str]:
    """Return one line a side: the median, and between which values the middle half lies."""
    return [f"{name:<32} {statistics.median(values):6.0f} ms  ({_spread(values)})" for name, values in samples.items()]


def renew(samples: Samples, part: float, goal: float) -> None:
    """Draw the plot, and write the page's table between its marks."""
    draw(samples, PLOT)
    PAGE.write_text(with_table(PAGE.read_text(), table(samples, part, goal)))


def with_table(page: str, text: str) -> str:
    """Return the page with another table.

    Raises:
        ValueError: the marks are not there.

    """
    head, begin, rest = page.partition(_BEGIN)
    _, end, tail = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{PAGE.name} has no lines {_BEGIN.strip()} and {_END}")
    return head + begin + text + end + tail


def table(samples: Samples, part: float, goal: float) -> str:
    """Return the table, with the machine and the date."""
    bare, *_ = medians = {name: statistics.median(values) for name, values in samples.items()}
    rows = [
        f"| {name} | {median:.0f} ms | {_spread(samples[name])} | {median - medians[bare]:+.0f} ms |"
        for name, median in medians.items()
    ]
    return "\n".join(
        [
            "| init phase | median | middle half | added |",
            "|---|---|---|---|",
            *rows,
            "",
            f"(b) adds {part:.2f} of what (c) adds; the goal is {goal:.2f} at most. Medians of",
            f"{len(samples[bare])} cold starts each, in turn: {machine()},",
            f"Python {platform.python_version()}, {today()}.",
            "",
        ]
    )


def draw(samples: Samples, path: Path) -> None:
    """Draw a bar a side, and a dot a cold start; the same samples give the same file."""
    import matplotlib as mpl  # noqa: PLC0415 - not needed for the figures

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "lambda-tasks", "svg.fonttype": "none", "font.family": "sans-serif"})
    from matplotlib import pyplot  # noqa: PLC0415

    figure, axes = pyplot.subplots(figsize=(8, 2.4), layout="constrained")
    for place, ((name, values), colour) in enumerate(zip(samples.items(), _COLOURS, strict=True)):
        median = statistics.median(values)
        axes.barh(place, median, color=colour, height=0.6)
        axes.plot(values, [place] * len(values), ".", color="black", alpha=0.35, markersize=4)
        axes.annotate(f"{median:.0f} ms", (max(values), place), (6, 0), textcoords="offset points", va="center")
        axes.annotate(name, (0, place), (-8, 0), textcoords="offset points", va="center", ha="right")
    axes.set_yticks([])
    axes.set_xlim(0, max(map(max, samples.values())) * 1.15)
    axes.set_xlabel("init phase, milliseconds")
    axes.invert_yaxis()
    axes.spines[["top", "right", "left"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
    # matplotlib ends lines with spaces.
    path.write_text(re.sub(r"[ \t]+$", "", path.read_text(), flags=re.MULTILINE))


def machine() -> str:
    """Return the processor and how many of it there are."""
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    name = re.sub(r"\((?:R|TM)\)| CPU| Processor", "", found[1]) if found else platform.machine()
    return f"{os.cpu_count()} cores of {name.strip()}"


def today() -> str:
    return datetime.datetime.now(datetime.timezone.utc).date().isoformat()


def _spread(values: Sequence[float]) -> str:
    first, _, third = statistics.quantiles(values, n=4) if len(values) > 1 else [values[0]] * 3
    return f"{first:.0f} to {third:.0f}"
