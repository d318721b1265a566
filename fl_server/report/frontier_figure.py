"""The frontier as a figure for reports: utility against what the strongest attack rebuilds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from infomri_core.results.arm_names import strength_label
from infomri_core.results.frontier import (
    ALONE,
    CENTRAL,
    FEDERATED,
    TRAININGS,
    Row,
    answer_in,
    label,
    marked,
    marker_scale,
    pareto,
    traces,
    utility_of,
)
from infomri_core.results.label_places import Box, label_places
from infomri_core.results.palette import GREY
from infomri_core.results.trainings import trainings
from infomri_core.sampling.registry import learns, style_of

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SUFFIXES = (".png", ".svg")
# A panel and a letter of a label, in points: enough to keep labels apart.
_PANEL_POINTS, _LETTER = (450, 260), 5.2
_MARKER_POINTS = 10.0


def frontier(rows: Sequence[Row], path: Path) -> list[Path]:
    """Draw all accelerations in one panel; write ``path`` with .png and .svg, return both paths.

    A curve is an arm, and its markers shrink as it measures less; those without suppression are
    hollow. Bars are 95 % intervals. Rows without utility or attack are named below.
    """
    from matplotlib import rc_context

    path.parent.mkdir(parents=True, exist_ok=True)
    targets = [path.with_name(path.name + suffix) for suffix in _SUFFIXES]
    with rc_context({"font.size": 9, "svg.hashsalt": "infomri", "svg.fonttype": "none"}):
        figure = _draw(rows)
        for target in targets:
            # No date: equal rows give equal bytes.
            metadata = {"Date": None} if target.suffix == ".svg" else None
            figure.savefig(target, dpi=160, metadata=metadata)
    return targets


def _draw(rows: Sequence[Row]) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    own = [row for row in rows if row.training == FEDERATED]
    placed = [row for row in own if row.utility.value is not None and row.psnr]
    _panel(axes, rows, placed)
    _label(axes, placed)
    _legend(figure, axes, sorted({row.acceleration for row in placed}))
    return figure


def _panel(axes: "Axes", rows: Sequence[Row], placed: Sequence[Row]) -> None:
    accelerations = [row.acceleration for row in placed]
    _front(axes, placed)
    for trace in traces(placed):
        _trace(axes, trace, accelerations)
    _line(axes, [row.psnr_prior for row in rows], "--", "floor: nothing measured")
    _line(axes, [row.psnr_answer for row in rows], ":", f"ideal: the {answer_in(rows)} alone")
    _others(axes, rows)
    absent = ", ".join(
        dict.fromkeys(
            f"{label(row, rows)} at {row.acceleration:g}x"
            for row in rows
            if row not in placed and row.training == FEDERATED
        )
    )
    note = f"\nnot shown, a figure is undefined: {absent}" if absent else ""
    axes.set_xlabel(f"PSNR of the strongest attack (dB; lower: more private){note}")
    utility = utility_of(rows)
    axes.set_ylabel(f"{utility.title} ({utility.reading})")
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(0.14)
    if utility.most is not None:
        axes.set_ylim(top=min(utility.most + 0.01, axes.get_ylim()[1]))


def _others(axes: "Axes", rows: Sequence[Row]) -> None:
    """A horizontal line at what each other training of an arm comes to, where most points are
    measured: what is compared is how well it does, so it has no place along the axis."""
    for comparison in trainings(rows)[:1]:
        for kind, style in ((CENTRAL, "-."), (ALONE, (0, (1, 1)))):
            row, at = comparison.rows.get(kind), comparison.federated
            if row is not None and row.utility.value is not None:
                name = f"{label(at, rows)} at {row.acceleration:g}x, {TRAININGS[kind]}"
                colour = style_of(row.sampler).colour
                axes.axhline(row.utility.value, color=colour, linestyle=style, label=name)


def _front(axes: "Axes", placed: Sequence[Row]) -> None:
    """The Pareto front over sampler, beta and acceleration, as steps."""
    best = sorted(pareto(placed), key=lambda row: row.psnr_worst or 0.0)
    if len(best) > 1:
        x, y = [row.psnr_worst or 0.0 for row in best], [row.utility.value or 0.0 for row in best]
        line = axes.step(x, y, where="post", label="Pareto front", color=GREY, linewidth=3.0)[0]
        line.set(alpha=0.3, zorder=1)


def _trace(axes: "Axes", rows: Sequence[Row], accelerations: Sequence[float]) -> None:
    style = style_of(rows[0].sampler)
    marker = style.marker
    x, y = [row.psnr_worst or 0.0 for row in rows], [row.utility.value or 0.0 for row in rows]
    psnr = [_interval(row, row.psnr_low, row.psnr_high) for row in rows]
    axes.errorbar(
        x,
        y,
        xerr=_bars(x, psnr),
        yerr=_bars(y, [(row.utility.low, row.utility.high) for row in rows]),
        color=style.colour,
        marker=marker,
        markersize=0,
        linewidth=1.2,
        elinewidth=0.6,
        alpha=0.45,
        label=None,
    )
    for row, at, up in zip(rows, x, y):
        axes.plot(
            at,
            up,
            linestyle="",
            marker=marker,
            markersize=_MARKER_POINTS * marker_scale(row.acceleration, accelerations),
            color=style.colour,
            markerfacecolor=style.colour if row.beta else "white",
            markeredgecolor=style.colour,
            label=_name(row),
            clip_on=False,
        )


def _name(row: Row) -> str:
    """What the legend calls a marker."""
    name = style_of(row.sampler).name
    if not learns(row.sampler):
        return name
    if row.beta < 0:
        return f"{name}, asks for the image"
    return f"{name}, suppressed" if row.beta > 0 else f"{name}, β=0: measuring less"


def _label(axes: "Axes", placed: Sequence[Row]) -> None:
    """The learned arms' beta, each beside its trace at the end of a thin line."""
    learned = marked(row for row in placed if learns(row.sampler))
    points = [_fraction(axes, row.psnr_worst or 0.0, row.utility.value or 0.0) for row in learned]
    texts = [strength_label(row) for row in learned]
    widths = [(len(text) + 2) * _LETTER / _PANEL_POINTS[0] for text in texts]
    height = 14 / _PANEL_POINTS[1]
    places = label_places(points, widths, height, [_box(axes, row) for row in placed])
    for row, text, at in zip(learned, texts, places):
        colour = style_of(row.sampler).colour
        axes.annotate(
            text,
            (row.psnr_worst or 0.0, row.utility.value or 0.0),
            at,
            textcoords="axes fraction",
            ha="center",
            va="center",
            color=colour,
            fontsize=8,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.5, "shrinkB": 5},
        )


def _box(axes: "Axes", row: Row) -> Box:
    """What a point's marker and bars cover of the panel."""
    x, y = row.psnr_worst or 0.0, row.utility.value or 0.0
    left, right = (x if v is None else v for v in _interval(row, row.psnr_low, row.psnr_high))
    bottom, top = (y if v is None else v for v in (row.utility.low, row.utility.high))
    (x0, y0), (x1, y1) = _fraction(axes, left, bottom), _fraction(axes, right, top)
    return (x0 - 0.02, y0 - 0.02, x1 + 0.02, y1 + 0.02)


def _fraction(axes: "Axes", x: float, y: float) -> tuple[float, float]:
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    return (x - left) / (right - left), (y - bottom) / (top - bottom)


def _interval(
    row: Row, low: Mapping[str, float], high: Mapping[str, float]
) -> tuple[float | None, float | None]:
    return low.get(row.worst_attack or ""), high.get(row.worst_attack or "")


def _bars(
    values: Sequence[float], intervals: Sequence[tuple[float | None, float | None]]
) -> list[list[float]]:
    """Lengths below and above; none where an interval is undefined."""
    below = [max(0.0, v - (v if low is None else low)) for v, (low, _) in zip(values, intervals)]
    above = [
        max(0.0, (v if high is None else high) - v) for v, (_, high) in zip(values, intervals)
    ]
    return [below, above]


def _line(axes: "Axes", values: Sequence[float | None], style: str, name: str) -> None:
    """A vertical line at the highest value, and a band over the arms where they differ."""
    defined = [value for value in values if value is not None]
    if defined:
        axes.axvline(max(defined), color=GREY, linestyle=style, linewidth=1.2, label=name)
        axes.axvspan(min(defined), max(defined), color=GREY, alpha=0.10, linewidth=0)


def _legend(figure: "Figure", axes: "Axes", accelerations: Sequence[float]) -> None:
    """Below the panel: what is drawn, then the size of each acceleration's markers."""
    from matplotlib.lines import Line2D

    handles: dict[str, Artist] = {}
    found = zip(*axes.get_legend_handles_labels())
    for handle, name in sorted(found, key=lambda item: ": the" in item[1] or "floor" in item[1]):
        handles.setdefault(name, handle)
    sizes = [_MARKER_POINTS * marker_scale(a, accelerations) for a in accelerations]
    for acceleration, size in zip(accelerations, sizes):
        handle = Line2D([], [], linestyle="", marker="o", markersize=size, color=GREY)
        handle.set_markerfacecolor("white")
        handles[f"{acceleration:g}x"] = handle
    if handles:
        names = list(handles)
        figure.legend(
            [handles[name] for name in names],
            names,
            loc="outside lower center",
            ncols=2,
            fontsize=8,
            frameon=False,
        )
