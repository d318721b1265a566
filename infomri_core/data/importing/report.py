"""What an import took, passed over and changed: for a person, for a program, and what stays."""

import csv
import io
import json
import os
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from infomri_core.data.importing.volume import Journal

NEVER_STORED = (
    "Patients are keyed hashes under this site's secret. No header, name, date, UID, path or "
    "file name is stored. Pixels are as they were: text drawn into them and faces in head scans "
    "are not removed."
)


@dataclass(frozen=True)
class OutlineCounts:
    """Of the slices taken: how many have each outline, how many were looked at and hold none
    (``empty``), and how many no rater outlined (``missing``)."""

    raters: int
    slices: dict[str, int]
    empty: int
    missing: int


def count_outlines(
    n_raters: int, slices: list[tuple[tuple[int, ...], bool]], names: tuple[str, ...]
) -> OutlineCounts:
    """Counted from the values of each slice's masks, and whether a rater looked at it."""
    if len(names) > 1:
        found = {name: sum(v in values for values, _ in slices) for v, name in enumerate(names, 1)}
    else:
        found = {(names or ("mask",))[0]: sum(bool(values) for values, _ in slices)}
    empty = sum(seen and not values for values, seen in slices)
    return OutlineCounts(n_raters, found, empty, sum(not seen for _, seen in slices))


@dataclass(frozen=True)
class Report:
    """The account of one import. It names no patient, file, date or description."""

    source: str
    archive: str
    n_slices: int
    n_patients: int
    n_volumes: int
    shape: tuple[int, int]
    resized: bool
    planes: dict[str, int]
    labels: dict[str, int]
    skipped: dict[str, int]
    unlabelled: dict[str, int]
    unknown_rows: tuple[int, ...]
    suspected_text: tuple[int, ...]
    warnings: tuple[str, ...]
    outlines: OutlineCounts | None = None
    note: str = field(default=NEVER_STORED)

    def json(self) -> str:
        """As JSON, indented."""
        return json.dumps(asdict(self), indent=2) + "\n"

    def text(self) -> str:
        """In words, a fact a line."""
        height, width = self.shape
        how = "resampled to" if self.resized else "as stored,"
        lines = [
            f"{self.n_slices} slices of {self.n_patients} patients in {self.n_volumes} volumes "
            f"from {self.source}, {how} {height} x {width}",
            "planes (slices): " + _counts(self.planes),
            "labels (slices): " + (_counts(self.labels) or self._without_labels()),
        ]
        if self.outlines is not None:
            lines.append(_outlines(self.outlines))
        lines += [f"left out, {why}: {n}" for why, n in _sorted({**self.skipped})]
        lines += [f"left out, {why}: {n}" for why, n in _sorted({**self.unlabelled})]
        lines += [f"warning: {sentence}" for sentence in self.warnings]
        if self.unknown_rows:
            lines.append(
                f"warning: label rows whose ids are not among the slices that were found: "
                f"{ranges(self.unknown_rows)}"
            )
        if self.suspected_text:
            lines.append(
                f"warning: text may be drawn into rows {ranges(self.suspected_text)}; look at "
                "them with `infomri data check`"
            )
        return "\n".join([*lines, self.note, ""])

    def _without_labels(self) -> str:
        return "none" if self.outlines is not None else "none: usable as an audit set only"


def _outlines(found: OutlineCounts) -> str:
    raters = "1 rater" if found.raters == 1 else f"{found.raters} raters"
    rest = f"none in {found.empty}" + (
        f"; {found.missing} have no mask and are kept without a target" if found.missing else ""
    )
    return f"outlines of {raters} (slices): {_counts(found.slices)}; {rest}"


def report_paths(out: Path) -> tuple[Path, Path, Path]:
    """Where the JSON, the text and the private list of an archive go."""
    return (
        out.with_name(f"{out.stem}.report.json"),
        out.with_name(f"{out.stem}.report.txt"),
        out.with_name(f"{out.stem}.private.csv"),
    )


def write_reports(
    out: Path, report: Report, journal: Journal, taken: list[tuple[str, str]]
) -> None:
    """Write the report twice, and beside it what must stay: which file became which code and why
    others were passed over. All are readable by their owner alone."""
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(["what", "where", "reason or code"])
    writer.writerows(["taken", place, code] for place, code in taken)
    writer.writerows(["noted", place, reason] for place, reason in journal.private)
    contents = (report.json(), report.text(), stream.getvalue())
    for path, content in zip(report_paths(out), contents):
        _write_private(path, content)


def _write_private(path: Path, content: str) -> None:
    fresh = path.with_name(f".{path.name}.tmp")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as stream:
        stream.write(content)
    fresh.replace(path)


def _sorted(counts: dict[str, int]) -> list[tuple[str, int]]:
    return Counter(counts).most_common()


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in counts.items())


def ranges(numbers: tuple[int, ...], most: int = 20) -> str:
    """Numbers in words: 3, 5-8, 11 and so on; cut after ``most`` stretches."""
    stretches: list[list[int]] = []
    for number in numbers:
        if stretches and stretches[-1][1] == number - 1:
            stretches[-1][1] = number
        else:
            stretches.append([number, number])
    shown = [str(a) if a == b else f"{a}-{b}" for a, b in stretches[:most]]
    return ", ".join(shown) + (", .." if len(stretches) > most else "")
