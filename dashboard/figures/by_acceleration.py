"""A task's figure over acceleration: of images, the rate-distortion curve."""

from collections.abc import Sequence

import plotly.graph_objects as go

from dashboard.figures.curves import DASHES, finished
from infomri_core.results.frontier import Row, labels
from infomri_core.sampling.registry import style_of
from infomri_core.tasks.figures import Figure


def by_acceleration(rows: Sequence[Row], figure: Figure) -> go.Figure:
    """A line an arm with 95 % intervals where the figure has them; colour says the sampler, dashes
    tell its arms apart."""
    drawn, names, of_sampler = go.Figure(), labels(rows), dict[str, int]()
    for arm, name in names.items():
        own = sorted((r for r in rows if r.arm == arm), key=lambda row: row.acceleration)
        own = [row for row in own if row.figure(figure.name).value is not None]
        if own:
            sampler = own[0].sampler
            number = of_sampler[sampler] = of_sampler.get(sampler, -1) + 1
            drawn.add_trace(_line(own, figure, name, DASHES[number % len(DASHES)]))
    shown = sorted({row.acceleration for row in rows})
    drawn.update_xaxes(type="log", title="acceleration", tickvals=shown)
    drawn.update_xaxes(ticktext=[f"{a:g}x" for a in shown])
    unit = f" ({figure.unit.strip()})" if figure.unit else ""
    return finished(drawn, f"{figure.title}{unit}")


def _line(rows: Sequence[Row], figure: Figure, name: str, dash: str) -> go.Scatter:
    found = [row.figure(figure.name) for row in rows]
    values = [estimate.value or 0.0 for estimate in found]
    above = [0.0 if e.high is None else e.high - v for e, v in zip(found, values)]
    below = [0.0 if e.low is None else v - e.low for e, v in zip(found, values)]
    style = style_of(rows[0].sampler)
    return go.Scatter(
        x=[row.acceleration for row in rows],
        y=values,
        name=name,
        mode="lines+markers",
        line={"color": style.colour, "dash": dash, "width": 2},
        error_y={"type": "data", "symmetric": False, "array": above, "arrayminus": below}
        if any(above)
        else None,
    )
