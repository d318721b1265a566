"""Counts that do not move: within a period two enrolments say the same, whoever came or went."""

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
) -> dict[str, int] | None:
    """The counts that leave in place of today's: those of the newest first card in the ledger,
    of any study, while it is younger than ``days``.

    Guarantee: within the period, two cards are equal whatever changed between them. Between two
    periods a count shows that it passed a multiple of the site's step, and a single patient can
    be what made it pass. A card is as old as the newest line before it, whatever the clock says.
    """
    now = now or datetime.now(UTC)
    for entry, at in reversed(list(dated(entries))):
        if set(entry.counts) == names:
            return dict(entry.counts) if now - at < timedelta(days=days) else None
    return None
