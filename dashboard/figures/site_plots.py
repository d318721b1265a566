"""Who took part in which round, and what its answers took, as figures."""

from collections.abc import Sequence

import plotly.graph_objects as go

from dashboard.figures.curves import whole_rounds
from dashboard.reading.sites import Site, State
from infomri_core.results.palette import GREY

_STATES: dict[State, tuple[str, str, str]] = {
    "answered": ("#0072B2", "square", "took part"),
    "refused": ("#D55E00", "x", "refused, or its reply was not used"),
    "silent": ("#CC79A7", "circle-open", "was asked and did not answer"),
    "absent": (GREY, "line-ew-open", "was not there"),
}
_PHASES = {"enrol": "#56B4E9", "train": "#0072B2", "evaluate": "#E69F00", "release": "#CC79A7"}


def rounds(sites: Sequence[Site]) -> go.Figure:
    """A row a site, a column a round: who took part. Colour and shape both say it."""
    figure = go.Figure()
    for state, (colour, symbol, name) in _STATES.items():
        at = [(n, s.name) for s in sites for n, found in s.rounds.items() if found == state]
        if at:
            marker = {"symbol": symbol, "color": colour, "size": 13}
            marker |= {"line": {"color": colour, "width": 2}}
            x, y = zip(*at)
            hover = f"%{{y}}, round %{{x}}: {name}<extra></extra>"
            figure.add_trace(
                go.Scatter(x=x, y=y, mode="markers", name=name, marker=marker, hovertemplate=hover)
            )
    whole_rounds(figure, max((len(site.rounds) for site in sites), default=0))
    figure.update_yaxes(title="site", autorange="reversed", type="category")
    return _finished(figure, sites)


def phases(sites: Sequence[Site], bytes_: bool) -> go.Figure:
    """Stacked bars by phase: seconds until a site's answers came, or megabytes there and back."""
    figure = go.Figure()
    for phase, colour in _PHASES.items():
        values = [_amount(site, phase, bytes_) for site in sites]
        if any(values):
            figure.add_trace(
                go.Bar(
                    y=[site.name for site in sites],
                    x=values,
                    name=phase,
                    orientation="h",
                    marker={"color": colour},
                )
            )
    title = "megabytes of arrays, both ways" if bytes_ else "seconds until the answer came, summed"
    figure.update_layout(barmode="stack")
    figure.update_xaxes(title=title)
    figure.update_yaxes(title="site", autorange="reversed", type="category")
    return _finished(figure, sites)


def _amount(site: Site, phase: str, bytes_: bool) -> float:
    if not bytes_:
        return site.seconds.get(phase, 0.0)
    return (site.bytes_out.get(phase, 0) + site.bytes_in.get(phase, 0)) / 1e6


def _finished(figure: go.Figure, sites: Sequence[Site]) -> go.Figure:
    figure.update_layout(
        height=150 + 32 * max(2, len(sites)),
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        showlegend=True,
    )
    return figure
