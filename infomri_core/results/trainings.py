"""What federation is worth: an arm trained by all sites, by each alone, and in one place."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from infomri_core.results.arm_names import federated_name
from infomri_core.results.frontier import (
    ALONE,
    CENTRAL,
    FEDERATED,
    TRAININGS,
    Row,
    label,
    utility_of,
)
from infomri_core.summaries.jackknife import Estimate
from infomri_core.tasks.figures import Figure

ORDER = (ALONE, FEDERATED, CENTRAL)
HEADINGS = TRAININGS | {FEDERATED: "federated"}
_TRAINED = {
    ALONE: "where each site trains alone",
    FEDERATED: "federated",
    CENTRAL: "with all data in one place",
}


@final
@dataclass(frozen=True)
class Comparison:
    """One arm at one acceleration: the row of each training that was scored."""

    rows: dict[str, Row]

    @property
    def federated(self) -> Row:
        """The row of the federation."""
        return self.rows[FEDERATED]

    def utility(self, training: str) -> Estimate:
        """The task's first figure after that training; without a value where it was not scored."""
        row = self.rows.get(training)
        return Estimate(None) if row is None else row.utility


def trainings(rows: Sequence[Row]) -> list[Comparison]:
    """Of each federated row beside which others were trained, all of them."""
    cells: dict[tuple[str, float], dict[str, Row]] = {}
    for row in rows:
        key = (row.arm if row.training == FEDERATED else federated_name(row.arm), row.acceleration)
        cells.setdefault(key, {})[row.training] = row
    return [Comparison(c) for c in cells.values() if FEDERATED in c and len(c) > 1]


def sentence(rows: Sequence[Row]) -> str:
    """What federation is worth where most points are measured, in plain words; '' where nothing
    was trained beside it."""
    found = min(trainings(rows), key=lambda c: c.federated.acceleration, default=None)
    if found is None:
        return ""
    row, figure = found.federated, utility_of([found.federated])
    said = [
        f"{_interval(found.utility(kind), figure)} {_TRAINED[kind]}"
        for kind in ORDER
        if kind in found.rows
    ]
    return (
        f"What federation is worth, at equal samples: {figure.title} of {label(row, rows)} at "
        f"{row.acceleration:g}x is {', '.join(said)}."
    )


def _interval(found: Estimate, figure: Figure) -> str:
    if found.value is None:
        return "undefined"
    if found.low is None or found.high is None:
        return figure.form(found.value)
    return f"{figure.form(found.value)} ({figure.span(found.low, found.high)})"
