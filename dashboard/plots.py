"""Figures of the dashboard as pure functions of frontier rows."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from infomri_core.frontier import Row, label, pareto, psnr_of, traces
from infomri_core.palette import GREY, style_of

_SYMBOLS = {"infomri": "circle", "variable-density": "square", "uniform": "triangle-up"}


def frontier(rows: Sequence[Row], attack: str = "worst") -> go.Figure:
    """AUROC against the PSNR of ``attack`` ('worst': the strongest) at one acceleration.

    Bars are 95 % intervals; points that another arm beats on both axes are hollow.
    """
    placed = [row for row in rows if row.auroc is not None and psnr_of(row, attack) is not None]
    best = {row.arm for row in pareto(placed, attack)}
    figure = go.Figure()
    for trace in traces(placed):
        figure.add_trace(_trace(trace, placed, attack, best))
    _line(figure, [row.psnr_prior for row in rows], "dash", "floor: nothing measured")
    _line(figure, [row.psnr_diagnosis for row in rows], "dot", "ideal: the diagnosis alone")
    who = "the strongest attack" if attack == "worst" else f"the attack '{attack}'"
    figure.update_layout(
        height=520,
        margin={"l": 10, "r": 10, "t": 20, "b": 10},
        legend={"orientation": "h", "y": -0.16, "x": 0, "itemsizing": "constant"},
        hoverlabel={"align": "left"},
    )
    figure.update_xaxes(title=f"PSNR of {who} (dB) · lower is more private")
    figure.update_yaxes(title="AUROC · higher is a better diagnosis", tickformat=".2f")
    return figure


def _trace(trace: Sequence[Row], rows: Sequence[Row], attack: str, best: set[str]) -> go.Scatter:
    style = style_of(trace[0].sampler)
    learned = trace[0].sampler == "infomri"
    x, y = [psnr_of(row, attack) or 0.0 for row in trace], [row.auroc or 0.0 for row in trace]
    psnr = [_interval(row, attack) for row in trace]
    several = len({row.seed for row in rows if row.sampler == trace[0].sampler}) > 1
    return go.Scatter(
        x=x,
        y=y,
        name=f"{style.name}, seed {trace[0].seed}" if several else style.name,
        mode="lines+markers+text" if learned else "markers",
        text=[f"β={row.beta:g}" for row in trace] if learned else None,
        textposition="top left",
        textfont={"color": style.colour},
        line={"color": style.colour, "width": 2},
        marker={
            "symbol": _SYMBOLS.get(trace[0].sampler, "diamond"),
            "size": 13,
            "color": [style.colour if row.arm in best else "white" for row in trace],
            "line": {"color": style.colour, "width": 2},
        },
        error_x=_bars(x, psnr, style.colour),
        error_y=_bars(y, [(row.auroc_low, row.auroc_high) for row in trace], style.colour),
        customdata=[row.arm for row in trace],
        hovertext=[_hover(row, rows, attack) for row in trace],
        hoverinfo="text",
    )


def _interval(row: Row, attack: str) -> tuple[float | None, float | None]:
    name = row.worst_attack if attack == "worst" else attack
    return row.psnr_low.get(name or ""), row.psnr_high.get(name or "")


def _bars(
    values: Sequence[float],
    intervals: Sequence[tuple[float | None, float | None]],
    colour: str,
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


def _hover(row: Row, rows: Sequence[Row], attack: str) -> str:
    psnr = psnr_of(row, attack)
    name = row.worst_attack if attack == "worst" else attack
    lines = [f"<b>{label(row, rows)}</b>", f"AUROC {row.auroc:.3f}{_range(row)}"]
    lines.append(f"PSNR {psnr:.1f} dB by {name}")
    if row.psnr_prior is not None and psnr is not None:
        lines.append(f"{psnr - row.psnr_prior:+.1f} dB over the floor")
    if row.psnr_diagnosis is not None and psnr is not None:
        lines.append(f"{psnr - row.psnr_diagnosis:+.1f} dB over the diagnosis alone")
    return "<br>".join(lines)


def _range(row: Row) -> str:
    if row.auroc_low is None or row.auroc_high is None:
        return ""
    return f" ({row.auroc_low:.3f} to {row.auroc_high:.3f})"


def _line(figure: go.Figure, values: Sequence[float | None], dash: str, name: str) -> None:
    """A vertical line at the highest value, and a band over the arms where they differ."""
    defined = [value for value in values if value is not None]
    if not defined:
        return
    line = {"color": GREY, "dash": dash, "width": 1.5}
    if max(defined) > min(defined):
        figure.add_vrect(min(defined), max(defined), fillcolor=GREY, opacity=0.12, line_width=0)
    figure.add_vline(max(defined), line=line)
    entry = {"name": f"{name} ({max(defined):.1f} dB)", "mode": "lines", "line": line}
    figure.add_trace(go.Scatter(x=[None], y=[None], hoverinfo="skip", **entry))
