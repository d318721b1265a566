"""Every attack on one arm as intervals over the floors."""

import plotly.graph_objects as go

from infomri_core.results.frontier import Row
from infomri_core.results.palette import GREY

_PASSED, _WEAK = "#0072B2", "#D55E00"


def intervals(row: Row) -> go.Figure:
    """PSNR of each attack, strongest on top, with its 95 % interval and both floors. Attacks that
    failed their own test are hollow."""
    figure = go.Figure()
    for passed in (True, False):
        names = [n for n in row.psnr if (n in row.certified) == passed]
        if names:
            figure.add_trace(_points(row, names, passed))
    floors = (
        (row.psnr_prior, "dash", "floor: nothing measured"),
        (row.psnr_answer, "dot", f"ideal: the {row.answer} alone"),
    )
    for value, dash, name in floors:
        if value is not None:
            line = {"color": GREY, "dash": dash, "width": 1.5}
            figure.add_vline(value, line=line)
            entry = {"name": f"{name} ({value:.1f} dB)", "mode": "lines", "line": line}
            figure.add_trace(go.Scatter(x=[None], y=[None], hoverinfo="skip", **entry))
    order = sorted(row.psnr, key=lambda name: row.psnr[name])
    figure.update_yaxes(title="attack", type="category", categoryorder="array")
    figure.update_yaxes(categoryarray=order)
    figure.update_xaxes(title="PSNR of the rebuilt image (dB) · lower is more private")
    figure.update_layout(
        height=170 + 34 * max(2, len(row.psnr)),
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        showlegend=True,
    )
    return figure


def _points(row: Row, names: list[str], passed: bool) -> go.Scatter:
    colour = _PASSED if passed else _WEAK
    above = [row.psnr_high.get(name, row.psnr[name]) - row.psnr[name] for name in names]
    below = [row.psnr[name] - row.psnr_low.get(name, row.psnr[name]) for name in names]
    return go.Scatter(
        x=[row.psnr[name] for name in names],
        y=names,
        mode="markers",
        name="passed its own test" if passed else "weak: failed its own test",
        marker={
            "size": 12,
            "color": colour if passed else "white",
            "line": {"color": colour, "width": 2},
        },
        error_x={
            "type": "data",
            "symmetric": False,
            "array": above,
            "arrayminus": below,
            "color": colour,
            "width": 4,
        },
        hovertemplate="%{y}: %{x:.1f} dB<extra></extra>",
    )
