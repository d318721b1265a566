"""What each site did in a study, out of the run's events."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

import pandas as pd

from dashboard.reading.record import Event

State = Literal["answered", "refused", "silent", "absent"]
_OPTIONAL = ("missed", "epsilon spent", "all studies", "budget used", "last refusal")


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
                "slices per round": site.n_samples,
                "sent, MB": sum(site.bytes_out.values()) / 1e6,
                "received, MB": sum(site.bytes_in.values()) / 1e6,
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
    return "" if site.epsilon is None else "not reported"


def _missed(site: Site) -> str:
    return ", ".join(str(n) for n, state in sorted(site.rounds.items()) if state != "answered")
