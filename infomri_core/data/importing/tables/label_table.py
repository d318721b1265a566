"""The hospital's own table of labels, joined to volumes by patient, study, series or slice."""

import csv
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path

import numpy as np

from infomri_core.data.importing.identity import composed
from infomri_core.data.importing.tables.spelling import (
    as_digits,
    joined,
    one_spelling,
    split_names,
)
from infomri_core.data.importing.volume import Volume
from infomri_core.system.errors import InputError, nearest

IDS = ("patient", "study", "series", "slice")
OTHERS = ("hospital", "split")
MISSING = {"", "na", "n/a", "nan", "none", "null", "unknown", "?"}
_NUMBER = re.compile(r"[-+]?[0-9]*[.,]?[0-9]+([eE][-+]?[0-9]+)?")
MAX_CLASSES = 32


@dataclass(frozen=True)
class Row:
    """What one line says: label values as whole numbers, None where one is missing."""

    number: int
    labels: tuple[int, ...] | None
    hospital: str = ""
    split: str = ""


class Kind(Enum):
    """0 or 1 in each column, or one column of class numbers, or of class names."""

    BINARY = auto()
    NUMBERS = auto()
    WORDS = auto()


@dataclass
class LabelTable:
    """``names`` of the labels, or of the classes.

    ``used`` collects the numbers of rows that were found in the data. ``warnings`` say in which
    rows a word was read as another spelling of one.
    """

    where: str
    ids: tuple[str, ...]
    names: tuple[str, ...]
    kind: Kind
    rows: dict[tuple[str, ...], Row]
    warnings: tuple[str, ...] = ()
    used: set[int] = field(default_factory=set)

    def of(self, volume: Volume) -> list[Row | None]:
        """The row of each slice of a volume, None where the table has none."""
        return [self._row(volume, slice_names) for slice_names in volume.slices]

    def unused(self) -> list[int]:
        """Numbers of the rows whose ids are nowhere in the data, as a spreadsheet counts."""
        return sorted({row.number for row in self.rows.values()} - self.used)

    def array(self, rows: list[tuple[int, ...]]) -> np.ndarray:
        """Labels as an archive stores them: (n,) class names or numbers, or (n, L) of 0 and 1.

        Names are stored as words, so that ``names=A,B`` can order them alike at every site.
        """
        values = np.array(rows, dtype=np.uint8).reshape(len(rows), len(rows[0]) if rows else 0)
        if self.kind is Kind.BINARY:
            return values
        numbers = values[:, 0]
        return numbers if self.kind is Kind.NUMBERS else np.array(self.names)[numbers]

    def _row(self, volume: Volume, slice_names: tuple[str, ...]) -> Row | None:
        spellings = {
            "patient": (volume.patient,),
            "study": volume.study,
            "series": volume.series,
            "slice": slice_names,
        }
        for key in itertools.product(*(spellings[name] for name in self.ids)):
            row = self.rows.get(tuple(map(composed, key)))
            if row is not None:
                self.used.add(row.number)
                return row
        return None


def read_labels(path: Path, columns: tuple[str, ...] = ()) -> LabelTable:
    """The table at ``path``, a CSV with ids (``patient``, ``study``, ``series``, ``slice``: one or
    several, all must agree), labels, and optionally ``hospital`` and ``split``.

    ``columns`` are the labels, by default all others. One column of whole numbers above 1 or of
    words makes exclusive classes; else every column holds 0 or 1. A missing value stays missing.
    """
    header, lines = _lines(path)
    ids = tuple(name for name in IDS if name in header)
    if not ids:
        raise InputError(
            str(path),
            f"a column {', '.join(IDS[:-1])} or slice",
            f"{len(header)} columns, none of them called so",
            "begin the table with a line of names, and name the ids so",
        )
    columns = columns or tuple(n for n in header if n not in (*IDS, *OTHERS))
    for name in columns:
        if name not in header:
            hint = nearest(name, header) or "choose one of its first line"
            raise InputError(f"{path} --label", "a column of the table", f"'{name}'", hint)
    if not columns:
        raise InputError(str(path), "a column of labels", "ids alone", "add one")
    numbers = [number for number, _ in lines]
    texts, hospitals, splits, warnings = _words([line for _, line in lines], columns, numbers)
    kind = _kind(path, columns, texts, numbers)
    names = columns if kind is Kind.BINARY else _classes(f"{path} column '{columns[0]}'", texts)
    rows: dict[tuple[str, ...], Row] = {}
    for (number, line), values, hospital, split in zip(lines, texts, hospitals, splits):
        key = tuple(composed(line[name]) for name in ids)
        if not all(key):
            raise InputError(f"{path} row {number}", "an id", "an empty one", "fill it in")
        labels = None if None in values else tuple(_number(v, kind, names) for v in values if v)
        row = Row(number, labels, hospital, split)
        if (row.labels, row.hospital, row.split) != _content(rows.setdefault(key, row)):
            both = f"rows {rows[key].number} and {number} that differ"
            raise InputError(str(path), "one row an id", both, "keep the right one")
    return LabelTable(str(path), ids, names, kind, rows, warnings)


def _words(
    lines: list[dict[str, str]], columns: tuple[str, ...], numbers: list[int]
) -> tuple[list[tuple[str | None, ...]], list[str], list[str], tuple[str, ...]]:
    """Labels, hospitals and splits of each row in one spelling a word, and what was joined."""
    warnings: tuple[str, ...] = ()
    labels: list[list[str | None]] = []
    for name in columns:
        before = [_clean(line[name]) for line in lines]
        after = (as_digits(before) if len(columns) > 1 else None) or one_spelling(before)
        warnings += joined(name, numbers, before, after)
        labels.append(after)
    given = [[line.get(name, "").strip() for line in lines] for name in OTHERS]
    hospitals = [word or "" for word in one_spelling([*given[0]])]
    splits = split_names(given[1])
    for name, old, new in zip(OTHERS, given, (hospitals, splits)):
        warnings += joined(name, numbers, [*old], [*new])
    return list(zip(*labels)), hospitals, splits, warnings


def _content(row: Row) -> tuple[tuple[int, ...] | None, str, str]:
    return (row.labels, row.hospital, row.split)


def _lines(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            sample = stream.readline()
            # Excel's own line that names the separator.
            named = sample.strip().lower().startswith("sep=")
            sample = stream.readline() if named else sample
            stream.seek(0)
            lines_in = itertools.islice(stream, int(named), None)
            separator = max(",;\t", key=sample.count)
            reader = csv.DictReader(lines_in, delimiter=separator, restval="", strict=True)
            header = [_column(name) for name in reader.fieldnames or []]
            # Columns without a name get their number as one, to see whether they are empty.
            spare = {n: f"\0{n}" for n, name in enumerate(header) if not name}
            reader.fieldnames = [spare.get(n, name) for n, name in enumerate(header)]
            lines = [(reader.line_num + named, line) for line in _filled(reader)]
            used = {n for n in spare if any((line[spare[n]] or "").strip() for _, line in lines)}
            header = [name for n, name in enumerate(header) if n not in spare or n in used]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        there = isinstance(error, OSError)
        got = error.strerror if isinstance(error, OSError) else "another encoding"
        if isinstance(error, csv.Error):
            got = "cells that are quoted wrongly, or no table"
        remedy = "check the path" if there else "save it as CSV in UTF-8, 'CSV UTF-8' in Excel"
        raise InputError(str(path), "a CSV in UTF-8", str(got), remedy) from None
    for place, name in enumerate(header):
        if not name:
            where = f"{path} column {place + 1}"
            raise InputError(where, "a name in the first line", "none", "name or empty the column")
        if name.casefold() in map(str.casefold, header[:place]):
            where = f"{path} column {place + 1}"
            got = "a name twice, in whatever case"
            raise InputError(where, "each column once", got, "rename the duplicate")
    if any("\0" in str(cell) for _, line in lines for cell in line.values()):
        remedy = "save it as CSV in UTF-8, 'CSV UTF-8' in Excel"
        raise InputError(str(path), "a CSV in UTF-8", "cells with zero bytes", remedy)
    wide = [number for number, line in lines if None in line]
    if wide:
        raise InputError(
            f"{path} row {wide[0]}", f"{len(header)} cells", "more", "quote cells with commas"
        )
    return header, lines


def _column(name: str) -> str:
    """Ids, ``hospital`` and ``split`` are known in any case."""
    plain = name.strip()
    return plain.lower() if plain.lower() in (*IDS, *OTHERS) else plain


def _filled(reader: "csv.DictReader[str]") -> Iterator[dict[str, str]]:
    return (line for line in reader if any(str(cell).strip() for cell in line.values()))


def _kind(
    path: Path, columns: tuple[str, ...], texts: list[tuple[str | None, ...]], numbers: list[int]
) -> Kind:
    odd = [
        (number, name)
        for number, row in zip(numbers, texts)
        for name, value in zip(columns, row)
        if value not in (None, "0", "1")
    ]
    if not odd:
        return Kind.BINARY
    if len(columns) > 1:
        where = f"{path} row {odd[0][0]} column '{odd[0][1]}'"
        remedy = "store 0 or 1, or choose the label columns with --label"
        raise InputError(where, "0, 1 or nothing", "something else", remedy)
    for number, (value,) in zip(numbers, texts):
        if value is not None and _NUMBER.fullmatch(value) and not value.isdecimal():
            where = f"{path} row {number} column '{columns[0]}'"
            remedy = "leave uncertain cells empty; name classes by words or whole numbers"
            raise InputError(where, "0, 1, a class or nothing", "another number", remedy)
    whole = all(row[0] is None or row[0].isdecimal() for row in texts)
    return Kind.NUMBERS if whole else Kind.WORDS


def _classes(where: str, texts: list[tuple[str | None, ...]]) -> tuple[str, ...]:
    """The names of a single column's classes; class numbers count from 0."""
    found = {row[0] for row in texts if row[0] is not None}
    names = tuple(sorted(found))
    if all(name.isdecimal() for name in found):
        names = tuple(f"class{i}" for i in range(1 + max(min(int(n), 1000) for n in found)))
    if len(names) > MAX_CLASSES:
        remedy = "choose the column of labels with --label"
        raise InputError(where, f"at most {MAX_CLASSES} classes", f"{len(names)}", remedy)
    return names


def _number(value: str, kind: Kind, names: tuple[str, ...]) -> int:
    return names.index(value) if kind is Kind.WORDS else int(value)


def _clean(text: str) -> str | None:
    text = text.strip().replace("\u2212", "-")
    if text.lower() in MISSING:
        return None
    # Three zeros may be thousands: 1,000 is not 1.
    number = re.sub(r"[.,]0{1,2}$", "", text)
    return number if number.isdecimal() else text
