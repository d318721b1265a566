"""The frontier as a figure: a pure function of its rows."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from dashboard.axes import (
    GAIN,
    PSNR,
    WORST,
    Axis,
    Ceiling,
    Interval,
    Point,
    attack_of,
    ceiling,
    front,
    place,
    utility_axes,
)
from infomri_core.results.arm_names import strength_label
from infomri_core.results.frontier import (
    Row,
    answer_in,
    label,
    marked,
    marker_scale,
    psnr_of,
    traces,
)
from infomri_core.results.label_places import label_places
from infomri_core.results.palette import GREY
from infomri_core.sampling.registry import learns, style_of

FADED = 0.35
# A narrow panel and a letter of a label, in pixels: enough to keep labels apart.
_PANEL, _LETTER = (640, 430), 8
_SIZE = 15


def frontier(
    rows: Sequence[Row],
    attack: str = WORST,
    x: Axis = PSNR,
    y: Axis | None = None,
    everywhere: Sequence[Row] = (),
) -> go.Figure:
    """``y``, by default the task's first figure, against ``x``: one trace an arm, whose markers
    shrink as it measures less, or of rows at one acceleration a sampler and seed, by beta.

    Bars are 95 % intervals. Rows that another beats on both are faded. Hollow markers have no
    suppression. ``customdata`` holds a row's arm and acceleration. The ceiling is looked for among
    ``everywhere``, the rows at all accelerations.
    """
    utility = utility_axes(rows)[0]
    y = y or utility
    points = place(rows, x, y, attack)
    best = {cell_of(point.row) for point in front(points)}
    figure = go.Figure()
    _front_line(figure, front(points))
    for trace in traces([point.row for point in points]):
        figure.add_trace(_trace(trace, points, (x, y), attack, best))
    _floors(figure, rows, x)
    above = ceiling([*rows, *everywhere]) if y.name == utility.name else None
    _ceiling(figure, above, y)
    _label(figure, points, (x, y), attack, above)
    who = "strongest attack" if attack == WORST else f"attack '{attack}'"
    figure.update_layout(
        height=540,
        margin={"l": 10, "r": 10, "t": 20, "b": 10},
        legend={"orientation": "h", "y": -0.16, "x": 0, "itemsizing": "constant"},
        hoverlabel={"align": "left"},
        clickmode="event+select",
    )
    of = "" if x.name == "epsilon" else f" of the {who}"
    figure.update_xaxes(title=f"{x.title}{of} · {x.reading}")
    figure.update_yaxes(title=f"{y.title} · {y.reading}", tickformat=".2f")
    return figure


def _front_line(figure: go.Figure, best: Sequence[Point]) -> None:
    """The Pareto front as steps: what can be had by choosing among the Pareto-optimal arms."""
    if len(best) < 2:
        return
    ordered = sorted(best, key=lambda p: p.x)
    figure.add_trace(
        go.Scatter(
            x=[p.x for p in ordered],
            y=[p.y for p in ordered],
            mode="lines",
            line={"color": GREY, "width": 1, "shape": "hv"},
            name="Pareto front",
            hoverinfo="skip",
        )
    )


def _trace(
    trace: Sequence[Row],
    points: Sequence[Point],
    axes: tuple[Axis, Axis],
    attack: str,
    best: set[tuple[str, float]],
) -> go.Scatter:
    style, (x, y) = style_of(trace[0].sampler), axes
    learned = learns(trace[0].sampler)
    xs, ys = ([axis.value(row, attack) or 0.0 for row in trace] for axis in axes)
    rows = [point.row for point in points]
    accelerations = {row.acceleration for row in rows}
    opacity = [1.0 if cell_of(row) in best else FADED for row in trace]
    return go.Scatter(
        x=xs,
        y=ys,
        name=_name(trace, rows),
        mode="lines+markers" if learned or len(accelerations) > 1 else "markers",
        line={"color": style.colour, "width": 2 if len(set(opacity)) == 1 else 1},
        marker={
            "symbol": [_symbol(row) for row in trace],
            "size": [_SIZE * marker_scale(row.acceleration, accelerations) for row in trace],
            "color": style.colour,
            "opacity": opacity,
            "line": {"color": style.colour, "width": 1},
        },
        # Plotly's own fading of all but the clicked point would make faded ones vanish.
        unselected={"marker": {"opacity": FADED}},
        error_x=_bars(xs, [x.interval(row, attack) for row in trace], style.colour),
        error_y=_bars(ys, [y.interval(row, attack) for row in trace], style.colour),
        customdata=[cell_of(row) for row in trace],
        hovertext=[_hover(row, rows, axes, attack) for row in trace],
        hoverinfo="text",
    )


def cell_of(row: Row) -> tuple[str, float]:
    """What tells a point from others."""
    return row.arm, row.acceleration


def _symbol(row: Row) -> str:
    symbol = style_of(row.sampler).symbol
    return symbol if row.beta else f"{symbol}-open"


def _name(trace: Sequence[Row], rows: Sequence[Row]) -> str:
    """Of a curve over accelerations its arm, of one over beta its sampler."""
    row, style = trace[0], style_of(trace[0].sampler)
    if len({r.acceleration for r in rows}) > 1:
        return label(row, rows)
    several = len({r.seed for r in rows if r.sampler == row.sampler}) > 1
    return f"{style.name}, seed {row.seed}" if several else style.name


def _label(
    figure: go.Figure,
    points: Sequence[Point],
    axes: tuple[Axis, Axis],
    attack: str,
    above: Ceiling | None,
) -> None:
    """The learned arms' beta, each beside its trace at the end of a thin line; the axes' ranges
    are fixed for it."""
    if not points:
        return
    spans = [
        [_ends(value, axis.interval(p.row, attack)) for p, value in zip(points, values)]
        for axis, values in zip(axes, ([p.x for p in points], [p.y for p in points]))
    ]
    lines = _floor_values([p.row for p in points], axes[0])
    x0, x1 = _range([*spans[0], *((v, v) for v in lines)])
    y0, y1 = _range([*spans[1], *([(above.utility, above.utility)] if above else [])])
    figure.update_xaxes(range=[x0, x1])
    figure.update_yaxes(range=[y0, y1])
    labelled = {cell_of(row) for row in marked(p.row for p in points if learns(p.row.sampler))}
    learned = [p for p in points if cell_of(p.row) in labelled]
    texts = [strength_label(p.row) for p in learned]

    def fraction(x: float, y: float) -> tuple[float, float]:
        return (x - x0) / (x1 - x0), (y - y0) / (y1 - y0)

    corners = [(*fraction(a, c), *fraction(b, d)) for (a, b), (c, d) in zip(*spans)]
    taken = [(a - 0.01, b - 0.02, c + 0.01, d + 0.02) for a, b, c, d in corners]
    at = [fraction(p.x, p.y) for p in learned]
    widths = [(len(text) + 2) * _LETTER / _PANEL[0] for text in texts]
    for point, text, (x, y) in zip(
        learned, texts, label_places(at, widths, 18 / _PANEL[1], taken)
    ):
        figure.add_annotation(
            x=point.x,
            y=point.y,
            ax=x0 + x * (x1 - x0),
            ay=y0 + y * (y1 - y0),
            axref="x",
            ayref="y",
            text=text,
            font={"color": style_of(point.row.sampler).colour},
            arrowcolor=style_of(point.row.sampler).colour,
            arrowwidth=0.7,
            arrowhead=0,
            standoff=8,
        )


def _ends(value: float, interval: Interval) -> tuple[float, float]:
    low, high = interval
    return (value if low is None else low, value if high is None else high)


def _range(spans: Sequence[tuple[float, float]]) -> tuple[float, float]:
    low, high = min(a for a, _ in spans), max(b for _, b in spans)
    pad = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    return low - pad, high + pad


def _bars(
    values: Sequence[float], intervals: Sequence[Interval], colour: str
) -> Mapping[str, object]:
    ends = [
        (low if low is not None else v, high if high is not None else v)
        for v, (low, high) in zip(values, intervals)
    ]
    return {
        "type": "data",
        "symmetric": False,
        "array": [max(0.0, high - v) for v, (_, high) in zip(values, ends)],
        "arrayminus": [max(0.0, v - low) for v, (low, _) in zip(values, ends)],
        "color": colour,
        "thickness": 1,
        "width": 3,
    }


def _hover(row: Row, rows: Sequence[Row], axes: tuple[Axis, Axis], attack: str) -> str:
    lines = [f"<b>{label(row, rows)} at {row.acceleration:g}x</b>"]
    for axis in reversed(axes):
        low, high = axis.interval(row, attack)
        around = "" if low is None or high is None else f" ({low:.3g} to {high:.3g})"
        lines.append(f"{axis.name} {axis.form(axis.value(row, attack) or 0.0)}{around}")
    psnr = psnr_of(row, attack)
    if psnr is not None:
        lines.append(f"attack: {attack_of(row, attack)}")
        for floor, name in ((row.psnr_prior, "floor"), (row.psnr_answer, f"{row.answer} alone")):
            if floor is not None:
                lines.append(f"{psnr - floor:+.1f} dB over the {name}")
    return "<br>".join([*lines, "<i>click to open its run</i>"])


def _floor_values(rows: Sequence[Row], x: Axis) -> list[float]:
    """Where the floors' lines stand on the axis ``x``."""
    if x not in (PSNR, GAIN):
        return []
    pairs = [(row.psnr_prior, row.psnr_answer) for row in rows]
    less = [(prior or 0.0) if x is GAIN else 0.0 for prior, _ in pairs]
    return [v - off for pair, off in zip(pairs, less) for v in pair if v is not None]


def _floors(figure: go.Figure, rows: Sequence[Row], x: Axis) -> None:
    if x not in (PSNR, GAIN):
        return
    less = [(row.psnr_prior or 0.0) if x is GAIN else 0.0 for row in rows]
    floors = [row.psnr_prior and row.psnr_prior - off for row, off in zip(rows, less)]
    ideals = [row.psnr_answer and row.psnr_answer - off for row, off in zip(rows, less)]
    _line(figure, floors, "dash", "floor: nothing measured")
    _line(figure, ideals, "dot", f"ideal: the {answer_in(rows)} alone")


def _line(figure: go.Figure, values: Sequence[float | None], dash: str, name: str) -> None:
    """A vertical line at the highest value, and a band over the arms where they differ."""
    defined = [value for value in values if value is not None]
    if not defined:
        return
    line = {"color": GREY, "dash": dash, "width": 1.5}
    if max(defined) > min(defined):
        figure.add_vrect(min(defined), max(defined), fillcolor=GREY, opacity=0.12, line_width=0)
    figure.add_vline(max(defined), line=line)
    _legend(figure, f"{name} ({max(defined):.1f} dB)", line)


def _ceiling(figure: go.Figure, found: Ceiling | None, y: Axis) -> None:
    if found is not None:
        line = {"color": GREY, "dash": "dashdot", "width": 1.5}
        figure.add_hline(found.utility, line=line)
        _legend(figure, f"ceiling: {found.whose} ({y.form(found.utility)})", line)


def _legend(figure: go.Figure, name: str, line: Mapping[str, object]) -> None:
    entry = {"name": name, "mode": "lines", "line": line}
    figure.add_trace(go.Scatter(x=[None], y=[None], hoverinfo="skip", **entry))
