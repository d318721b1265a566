"""fastMRI+ annotation tables (Zhao et al. 2022), read as labels of slices.

Boxes are drawn on images flipped up/down; only the slices they stand on are used here, so the
flip does not matter. A study-level annotation holds for every slice of its volume.
"""

import csv
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from infomri_core.system.errors import InputError

COLUMNS = ("file", "slice", "label")
N_DEFAULT_LABELS = 3
YES = {"yes", "y", "true", "t", "1", "1.0"}
NO = {"no", "n", "false", "f", "0", "0.0", ""}


@dataclass(frozen=True)
class Annotation:
    """One row: ``label`` was seen on slice ``index`` of ``volume`` (a file name without .h5).

    Errors name the ``line`` of the table, never what stands in it.
    """

    volume: str
    index: int
    study_level: bool
    label: str
    line: int = 0


def read_annotations(path: Path) -> tuple[Annotation, ...]:
    """The rows of an annotation CSV with columns file, slice, label and, optional, study_level."""
    rows = csv.DictReader(_lines(path))
    found = [name.strip() for name in rows.fieldnames or ()]
    rows.fieldnames = found
    missing = [name for name in COLUMNS if name not in found]
    if missing:
        raise InputError(
            str(path),
            f"a CSV with a column '{missing[0]}'",
            f"{len(found)} columns without it",
            "begin the table with a line of names; see docs/data.md",
        )
    return tuple(_annotation(row, str(path), rows.line_num) for row in rows)


def read_file_list(path: Path) -> frozenset[str]:
    """Names of the volumes that were read by the annotators, found or not.

    One name a line; blank lines, a heading, and lines of more than one word are passed over (the
    published knee list ends in such a line).
    """
    names = (line.split(",")[0].strip().removesuffix(".h5") for line in _lines(path))
    return frozenset(n for n in names if n and " " not in n and n.lower() not in COLUMNS)


def group_labels(
    annotations: tuple[Annotation, ...], names: tuple[str, ...], where: str
) -> dict[str, frozenset[str]]:
    """For each name the annotation labels it stands for: all that begin with it, in any case.

    Without names, the three labels that stand on most slices of the table; it depends on the
    table alone, so every site that has the table takes the same.
    """
    on: dict[str, set[tuple[str, int]]] = defaultdict(set)
    for a in annotations:
        on[a.label].add((a.volume, a.index))
    if not names:
        names = tuple(sorted(on, key=lambda label: (-len(on[label]), label))[:N_DEFAULT_LABELS])
    groups = {
        name: frozenset(label for label in on if label.lower().startswith(name.lower()))
        for name in names
    }
    for name, members in groups.items():
        if not members:
            hint = f"none of the table's {len(on)} labels begins so; check the spelling"
            raise InputError(f"{where} names", "a label of the table", f"'{name}'", hint)
    return groups


def check_volumes(
    annotations: tuple[Annotation, ...], known: frozenset[str], where: str, known_as: str
) -> None:
    """Refuse annotations of volumes that are not ``known``."""
    unknown = {a.volume for a in annotations} - known
    if unknown:
        line = min(a.line for a in annotations if a.volume in unknown)
        others = "other name" if len(unknown) == 1 else "other names"
        raise InputError(
            where,
            f"files of {known_as}",
            f"{len(unknown)} {others} (first in line {line})",
            "correct the names, or give the list of all annotated volumes with files=LIST.csv",
        )


def slice_labels(
    annotations: tuple[Annotation, ...],
    groups: Mapping[str, frozenset[str]],
    n_slices: Mapping[str, int],
    where: str,
) -> dict[str, np.ndarray]:
    """Multi-hot labels (slices, L) uint8 of the volumes in ``n_slices``; others are ignored."""
    labels = {volume: np.zeros((n, len(groups)), dtype=np.uint8) for volume, n in n_slices.items()}
    for a in annotations:
        if a.volume not in labels:
            continue
        if not a.study_level and not 0 <= a.index < n_slices[a.volume]:
            raise InputError(
                f"{where} line {a.line}",
                f"slices 0 to {n_slices[a.volume] - 1}",
                "another number",
                "check that the table belongs to these volumes",
            )
        rows = slice(None) if a.study_level else slice(a.index, a.index + 1)
        for column, members in enumerate(groups.values()):
            if a.label in members:
                labels[a.volume][rows, column] = 1
    return labels


def _annotation(row: dict[str, str | None], path: str, line: int) -> Annotation:
    where = f"{path} line {line}"
    text = {key: (value or "").strip() for key, value in row.items() if isinstance(key, str)}
    try:
        index = int(text["slice"])
    except ValueError:
        raise InputError(
            f"{where} slice", "a whole number", "something else", "fix the table"
        ) from None
    return Annotation(
        volume=text["file"].removesuffix(".h5"),
        index=index,
        study_level=_truth(text.get("study_level", ""), f"{where} study_level"),
        label=" ".join(text["label"].split()),
        line=line,
    )


def _truth(word: str, where: str) -> bool:
    if word.lower() in YES:
        return True
    if word.lower() in NO:
        return False
    raise InputError(where, "Yes, No or nothing", "another word", "fix the table")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise InputError(str(path), "a CSV file", "no such file", "check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(str(path), "a CSV text file", str(error), "check the path") from None
