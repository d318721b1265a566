"""Curves that should lie on the diagonal: a reliability diagram, a deviation against its error."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from dashboard.figures.curves import DASHES, finished
from infomri_core.results.palette import GREY
from infomri_core.sampling.registry import style_of


def diagonal(curves: Mapping[str, Mapping[str, Any]], samplers: Mapping[str, str]) -> go.Figure:
    """A line a name of ``curves``, each with ``x``, ``y`` and ``points`` (x, y, share); a marker's
    area is the share of pixels in its bin."""
    figure, drawn = go.Figure(), dict[str, int]()
    for name, curve in curves.items():
        points: Sequence[Sequence[float]] = curve["points"]
        sampler = samplers.get(name, name)
        dash = DASHES[drawn.get(sampler, 0) % len(DASHES)]
        drawn[sampler] = drawn.get(sampler, 0) + 1
        figure.add_trace(
            go.Scatter(
                x=[p[0] for p in points],
                y=[p[1] for p in points],
                name=name,
                mode="lines+markers",
                line={"color": style_of(sampler).colour, "dash": dash, "width": 2},
                marker={"size": [5 + 12 * p[2] ** 0.5 for p in points]},
                customdata=[100 * p[2] for p in points],
                hovertemplate="%{x:.3f}, %{y:.3f} (%{customdata:.1f} % of pixels)",
            )
        )
    ends = [value for curve in curves.values() for p in curve["points"] for value in p[:2]]
    most = max(ends, default=1.0)
    ideal = {"color": GREY, "dash": "dot", "width": 1.5}
    figure.add_trace(
        go.Scatter(x=[0, most], y=[0, most], name="calibrated", mode="lines", line=ideal)
    )
    first = next(iter(curves.values()))
    figure.update_xaxes(title=first["x"])
    return finished(figure, first["y"])
