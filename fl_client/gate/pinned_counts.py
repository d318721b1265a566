"""Counts that do not move: within a period two enrolments say the same, whatever has changed."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from fl_client.memory.ledger import Entry, dated
from infomri_core.messages import DatasetCard


def counts_of(card: DatasetCard) -> dict[str, int]:
    """The counts in a card, by name."""
    findings = {f"with {name}": n for name, n in zip(card.labels, card.n_positive, strict=True)}
    return {"patients": card.n_patients, "slices": card.n_slices, **findings}


def pinned_counts(
    entries: Sequence[Entry], names: set[str], days: float, now: datetime | None = None
) -> dict[str, int]:
    """Of the counts called ``names`` those that leave in place of today's: each as the newest
    ledger entry that tells it, of any study, while that is younger than ``days``.

    Guarantee: within the period, two cards say the same of what both count, whatever changed
    between them, and whatever else the tasks of their studies count. Between two
    periods a count shows that it passed a multiple of the site's step, and a single patient can
    be what made it pass. A card is as old as the newest line before it, whatever the clock says.
    """
    now = now or datetime.now(UTC)
    pinned: dict[str, int] = {}
    open_names = set(names)
    for entry, at in reversed(list(dated(entries))):
        found = open_names & set(entry.counts)
        open_names -= found
        if now - at < timedelta(days=days):
            pinned |= {name: int(entry.counts[name]) for name in found}
    return pinned
