"""Volumes and the rows of a label table that are surely theirs."""

from collections import Counter, defaultdict

from infomri_core.data.importing.report import ranges
from infomri_core.data.importing.tables.label_table import LabelTable, Row
from infomri_core.data.importing.volume import Journal, Volume

Rows = list[tuple[Volume, list[Row | None]]]
AMBIGUOUS = "label row that fits several patients, series or slices"


def join(
    volumes: list[Volume], table: LabelTable | None, journal: Journal
) -> tuple[Rows, dict[str, int]]:
    """Volumes of which at least one slice is labelled, and why how many slices are not.

    A row is used only where its ids leave no doubt (``ambiguous_rows``). The report names the
    numbers of the other rows.
    """
    if table is None:
        return [(volume, [Row(0, ())] * len(volume)) for volume in volumes], {}
    found = [(volume, table.of(volume)) for volume in volumes]
    doubtful = ambiguous_rows(found, table.ids)
    if doubtful:
        numbers = ranges(tuple(sorted(doubtful)))
        journal.warn(
            f"rows of the label table that fit several patients, series or slices: {numbers}; "
            "their slices are left out (add a column patient, study or series to the table)",
            *(v.place for v, rows in found if any(r and r.number in doubtful for r in rows)),
        )
    joined: Rows = []
    left: Counter[str] = Counter()
    for volume, rows in found:
        reasons = [_reason(row, doubtful) for row in rows]
        left.update(reason for reason in reasons if reason)
        usable = [None if reason else row for row, reason in zip(rows, reasons)]
        if any(usable):
            joined.append((volume, usable))
    return joined, dict(left)


def ambiguous_rows(found: Rows, ids: tuple[str, ...]) -> set[int]:
    """Numbers of the rows that fit more than what their ids name.

    No row may reach two patients: a file name, a series number or a vendor's UID that stands in
    several patients says nothing about whose label it is. A row with a ``series`` may reach one
    series, of any number of volumes (``series[0]``, the UID or the path, tells them apart), and a
    row with a ``slice`` one slice.
    """
    reached: dict[int, set[tuple[object, ...]]] = defaultdict(set)
    for place, (volume, rows) in enumerate(found):
        for number, row in enumerate(rows):
            if row is not None:
                series = volume.series[0] if "series" in ids and volume.series else None
                one = (place, number) if "slice" in ids else None
                reached[row.number].add((volume.patient, series, one))
    return {number for number, targets in reached.items() if len(targets) > 1}


def _reason(row: Row | None, doubtful: set[int]) -> str:
    if row is None:
        return "no row in the label table"
    if row.number in doubtful:
        return AMBIGUOUS
    return "label missing in the table" if row.labels is None else ""
