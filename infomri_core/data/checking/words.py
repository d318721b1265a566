"""Findings of a check, for a person and for a program."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from infomri_core.data.checking.check import Findings
from infomri_core.data.checking.columns import Columns

_BARS = " ▁▂▃▄▅▆▇█"


def in_words(findings: Findings, sheet: Path | None) -> str:
    """The findings in a page: what is in the file, how bright it is, what is wrong."""
    return "\n".join([*_content(findings), *_troubles(findings, sheet)]) + "\n"


def as_json_text(findings: Findings, sheet: Path | None) -> str:
    """The findings as JSON; patients stand under their codes."""
    columns = findings.columns
    told = {
        "file": str(findings.path),
        "slices": len(columns),
        "patients": len(set(columns.patients.tolist())),
        "shape": list(columns.shape),
        "groups": [_group(columns, hospital, split) for hospital, split in _groups(columns)],
        "by_patient": _by_patient(columns),
        "histograms": {name: counts.tolist() for name, counts in findings.histograms.items()},
        "defects": findings.defects,
        "warnings": findings.warnings,
        "suspicious": [{"row": one.row, "reason": one.reason} for one in findings.suspicious],
        "sheet": str(sheet) if sheet else None,
    }
    return json.dumps(told, indent=2) + "\n"


def split_in_words(counts: dict[str, dict[str, int]]) -> str:
    """Patients and slices of each split, and of each label in it."""
    lines = []
    for name, numbers in counts.items():
        parts = (f"{count} {what}" for what, count in numbers.items())
        lines.append(f"{name}: {', '.join(parts)}")
    return "\n".join(lines) + "\n"


def _content(findings: Findings) -> Iterator[str]:
    columns = findings.columns
    patients, counts = np.unique(columns.patients, return_counts=True)
    height, width = columns.shape
    yield f"{findings.path}: {len(columns)} slices of {len(patients)} patients, {height} x {width}"
    yield f"slices a patient: {counts.min()} to {counts.max()}, median {np.median(counts):g}"
    for hospital, split in _groups(columns):
        group = _group(columns, hospital, split)
        yield (
            f"{hospital} {split or '(no split)'}: {group['patients']} patients, "
            f"{group['slices']} slices"
        )
        for name, (slices, of_patients) in group["labels"].items():
            yield f"    {name}: {slices} slices of {of_patients} patients"
    for hospital, histogram in findings.histograms.items():
        yield f"grey values of {hospital}, 0 to 1, logarithmic: |{_spark(histogram)}|"


def _troubles(findings: Findings, sheet: Path | None) -> Iterator[str]:
    for sentence in findings.warnings:
        yield f"warning: {sentence}"
    kinds: dict[str, list[int]] = {}
    for one in findings.suspicious:
        kinds.setdefault(one.kind, []).append(one.row)
    for kind, rows in sorted(kinds.items(), key=lambda item: len(item[1])):
        yield f"look at: {kind} ({len(rows)}): {_rows(rows)}"
    if sheet is not None:
        yield f"contact sheet: {sheet} (it shows patients: keep it here)"
    for sentence in findings.defects:
        yield f"defect: {sentence}"
    yield "no defects" if not findings.defects else f"defects: {len(findings.defects)}"


def _rows(rows: list[int], most: int = 8) -> str:
    shown = ", ".join(map(str, rows[:most])) + (", .." if len(rows) > most else "")
    return f"row{'' if len(rows) == 1 else 's'} {shown}"


def _groups(columns: Columns) -> list[tuple[str, str]]:
    return sorted(set(zip(columns.hospital.tolist(), columns.split.tolist())))


def _group(columns: Columns, hospital: str, split: str) -> dict[str, Any]:
    inside = (columns.hospital == hospital) & (columns.split == split)
    counts = {}
    if columns.labels is not None:
        for name, column in zip(columns.labels.names, columns.labels.values.T):
            positive = inside & (column > 0)
            counts[name] = (int(positive.sum()), len(np.unique(columns.patients[positive])))
    return {
        "hospital": hospital,
        "split": split,
        "patients": len(np.unique(columns.patients[inside])),
        "slices": int(inside.sum()),
        "labels": counts,
    }


def _by_patient(columns: Columns) -> dict[str, dict[str, Any]]:
    names, inverse, counts = np.unique(columns.patients, return_inverse=True, return_counts=True)
    told: dict[str, dict[str, Any]] = {
        str(name): {"slices": int(n), "labels": {}} for name, n in zip(names, counts)
    }
    if columns.labels is not None:
        for label, column in zip(columns.labels.names, columns.labels.values.T):
            sums = np.bincount(inverse, weights=column, minlength=len(names)).astype(int)
            for name, n in zip(names, sums.tolist()):
                told[str(name)]["labels"][label] = n
    return told


def _spark(histogram: np.ndarray) -> str:
    heights = np.log1p(histogram) / max(float(np.log1p(histogram).max()), 1e-9)
    return "".join(_BARS[round(h * (len(_BARS) - 1))] for h in heights)
