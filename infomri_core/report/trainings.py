"""The report's table of what federation is worth."""

from collections.abc import Sequence

from infomri_core.report.html import Cell, table
from infomri_core.results.frontier import Row, label, utility_of
from infomri_core.results.trainings import HEADINGS, ORDER, trainings
from infomri_core.summaries.jackknife import Estimate
from infomri_core.tasks.figures import Figure

_CAPTION = (
    "{} at equal samples. Each site alone: each site's own patients judged by the model that it "
    "trained without the others, whose weights never left it. Central: all sites' slices in one "
    "place, where that can be had."
)


def training_table(rows: Sequence[Row]) -> str:
    """One line an arm and acceleration that was trained otherwise, too; '' where none was."""
    found, figure = trainings(rows), utility_of(rows)
    shown = [kind for kind in ORDER if any(kind in c.rows for c in found)]
    lines = [
        [
            Cell(label(c.federated, rows)),
            Cell(f"{c.federated.acceleration:g}x", style="n"),
            *(_cell(c.utility(kind), figure) for kind in shown),
        ]
        for c in found
    ]
    headers = ["Arm", "Acceleration", *(HEADINGS[kind].capitalize() for kind in shown)]
    return table(headers, lines, _CAPTION.format(figure.title)) if lines else ""


def _cell(found: Estimate, figure: Figure) -> Cell:
    if found.value is None:
        return Cell("-", style="n")
    ends = found.low is not None and found.high is not None
    note = f"{figure.form(found.low or 0.0)} to {figure.form(found.high or 0.0)}" if ends else ""
    return Cell(figure.form(found.value), note, "n")
