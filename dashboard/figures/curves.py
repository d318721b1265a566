"""Curves over rounds, steps and time, as figures."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import plotly.graph_objects as go

from dashboard.reading.runs import Curve
from infomri_core.attacks import registry as attacks
from infomri_core.sampling.registry import style_of

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#888888")
DASHES = ("solid", "dash", "dot", "dashdot")


def by_round(curves: Mapping[str, Curve], samplers: Mapping[str, str], title: str) -> go.Figure:
    """A line an arm; colour says the sampler of ``samplers``, dashes tell its arms apart."""
    figure, drawn = go.Figure(), dict[str, int]()
    for name, curve in curves.items():
        sampler = samplers.get(name, name)
        dash = DASHES[drawn.get(sampler, 0) % len(DASHES)]
        drawn[sampler] = drawn.get(sampler, 0) + 1
        line = {"color": style_of(sampler).colour, "dash": dash, "width": 2}
        figure.add_trace(
            go.Scatter(x=curve.steps, y=curve.values, name=name, mode="lines+markers", line=line)
        )
    whole_rounds(figure, max((len(curve.steps) for curve in curves.values()), default=0))
    return finished(figure, title)


def whole_rounds(figure: go.Figure, n_rounds: int) -> None:
    """An axis of rounds: whole numbers only."""
    figure.update_xaxes(title="round", dtick=1 if n_rounds <= 20 else None)


def over_time(curves: Mapping[str, Curve], title: str) -> go.Figure:
    """A line a name over the time of day."""
    figure = go.Figure()
    for i, (name, curve) in enumerate(curves.items()):
        times = [datetime.fromtimestamp(t, tz=UTC).astimezone() for t in curve.times]
        figure.add_trace(
            go.Scatter(x=times, y=curve.values, name=name, mode="lines", line=_line(i))
        )
    figure.update_xaxes(title="time")
    return finished(figure, title)


def lines(curves: Mapping[str, Sequence[Sequence[float]]], x: str, y: str) -> go.Figure:
    """A line a name through its points (x, y); undefined ones are left out."""
    drawn = {name: _line(i) for i, name in enumerate(curves)}
    return _through(curves, drawn, x, y)


def by_attack(curves: Mapping[str, Sequence[Sequence[float]]], x: str, y: str) -> go.Figure:
    """As :func:`lines`, each attack with its own colour and dash."""
    styles = {name: attacks.style_of(name) for name in curves}
    drawn = {n: {"color": s.colour, "dash": s.dash, "width": 2} for n, s in styles.items()}
    return _through(curves, drawn, x, y)


def _through(
    curves: Mapping[str, Sequence[Sequence[float]]],
    drawn: Mapping[str, Mapping[str, object]],
    x: str,
    y: str,
) -> go.Figure:
    figure = go.Figure()
    for name, points in curves.items():
        defined = [p for p in points if p[1] is not None]
        if len(defined) > 1:
            xs, ys = zip(*(p[:2] for p in defined))
            figure.add_trace(
                go.Scatter(x=xs, y=ys, name=name, mode="lines+markers", line=drawn[name])
            )
    figure.update_xaxes(title=x)
    return finished(figure, y)


def _line(i: int) -> dict[str, object]:
    colour = _COLOURS[i % len(_COLOURS)]
    return {"color": colour, "dash": DASHES[i % len(DASHES)], "width": 2}


def finished(figure: go.Figure, title: str) -> go.Figure:
    """``figure`` in the size and with the legend of every plot of curves; ``title`` is y's."""
    figure.update_yaxes(title=title)
    figure.update_layout(
        height=340,
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        legend={"orientation": "h", "y": -0.25, "x": 0},
        showlegend=True,
    )
    return figure
