"""What each site did in a study, out of the run's events."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

import pandas as pd
import plotly.graph_objects as go

from dashboard.figures.curves import whole_rounds
from dashboard.reading.record import Event
from infomri_core.results.palette import GREY

State = Literal["answered", "refused", "silent", "absent"]
_STATES: dict[State, tuple[str, str, str]] = {
    "answered": ("#0072B2", "square", "took part"),
    "refused": ("#D55E00", "x", "refused, or its reply was not used"),
    "silent": ("#CC79A7", "circle-open", "was asked and did not answer"),
    "absent": (GREY, "line-ew-open", "was not there"),
}
_OPTIONAL = ("missed", "epsilon spent", "all studies", "budget used", "last refusal")
_PHASES = {"enrol": "#56B4E9", "train": "#0072B2", "evaluate": "#E69F00", "release": "#CC79A7"}


@dataclass
class Site:
    """One site: its state in each training round, and what its answers took and brought.

    ``seconds`` and bytes are sums by phase over all answers; ``seen`` is the last answer.
    ``budget``: epsilon that all studies have spent there, and the site's limit, where it tells.
    """

    name: str
    rounds: dict[int, State] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    bytes_out: dict[str, int] = field(default_factory=dict)
    bytes_in: dict[str, int] = field(default_factory=dict)
    n_patients: int | None = None
    n_samples: int | None = None
    epsilon: float | None = None
    budget: tuple[float, float] | None = None
    refused: str = ""
    seen: datetime | None = None


def sites_of(events: Sequence[Event]) -> list[Site]:
    """The sites that were ever asked, by name, with the rounds in which they were not filled in.

    Only events ``answer`` and ``silent`` count; those of an older version are none.
    """
    found: dict[str, Site] = {}
    for event in events:
        if event["event"] in ("answer", "silent") and "site" in event:
            name = str(event["site"])
            _add(found.setdefault(name, Site(name)), event)
    rounds = {number for site in found.values() for number in site.rounds}
    for site in found.values():
        site.rounds |= dict.fromkeys(sorted(rounds - set(site.rounds)), "absent")
    return [found[name] for name in sorted(found)]


def _add(site: Site, event: Event) -> None:
    phase, trained = str(event.get("phase", "")), event.get("phase") == "train"
    silent, refused = event["event"] == "silent", str(event.get("refused") or "")
    state: State = "silent" if silent else "refused" if refused else "answered"
    if trained and site.rounds.get(int(event["round"])) != "answered":
        site.rounds[int(event["round"])] = state
    site.refused = refused or site.refused
    if silent:
        return
    site.seen = datetime.fromtimestamp(event["time"], tz=UTC)
    site.seconds[phase] = site.seconds.get(phase, 0.0) + float(event.get("seconds", 0.0))
    for sums, key in ((site.bytes_out, "bytes_out"), (site.bytes_in, "bytes_in")):
        sums[phase] = sums.get(phase, 0) + int(event.get(key, 0))
    site.n_patients = event.get("n_patients", site.n_patients)
    site.n_samples = event.get("n_samples", site.n_samples)
    epsilon = event.get("epsilon")
    if epsilon is not None:
        site.epsilon = max(epsilon, site.epsilon or 0.0)
    if event.get("budget") is not None:
        spent, limit = event["budget"]
        site.budget = (float(spent), float(limit))


def table(sites: Sequence[Site]) -> pd.DataFrame:
    """One line a site; bytes in MB of arrays, times in local time; no column that says nothing."""
    whole = pd.DataFrame(
        [
            {
                "site": site.name,
                "rounds": f"{list(site.rounds.values()).count('answered')} of {len(site.rounds)}",
                "missed": _missed(site),
                "patients": site.n_patients,
                "slices a round": site.n_samples,
                "sent to it, MB": sum(site.bytes_out.values()) / 1e6,
                "came back, MB": sum(site.bytes_in.values()) / 1e6,
                "epsilon spent": site.epsilon,
                "all studies": _budget(site),
                "budget used": site.budget and min(100.0, 100 * site.budget[0] / site.budget[1]),
                "last seen": None if site.seen is None else site.seen.astimezone(),
                "last refusal": site.refused,
            }
            for site in sites
        ]
    )
    empty = [name for name in _OPTIONAL if not whole[name].replace("", None).notna().any()]
    return whole.drop(columns=empty)


def _budget(site: Site) -> str:
    if site.budget is not None:
        return f"{site.budget[0]:.2f} of {site.budget[1]:g}"
    return "" if site.epsilon is None else "not told"


def _missed(site: Site) -> str:
    return ", ".join(str(n) for n, state in sorted(site.rounds.items()) if state != "answered")


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
