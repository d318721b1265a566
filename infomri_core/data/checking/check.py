"""Reading an archive slice by slice: what is in it, and what a person should look at."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from infomri_core.data.checking.columns import Columns, read_columns
from infomri_core.data.checking.looks import (
    Repeats,
    aborted_rows,
    detail_ratio,
    looks_like_phase,
    looks_tiled,
)
from infomri_core.data.hdf5.guarded import open_hdf5
from infomri_core.data.importing.component import SIGNED_SHARE, negative_share
from infomri_core.data.importing.formats.pixels import suspect_text
from infomri_core.data.normalise import normalise, volume_scale
from infomri_core.system.errors import InputError
from infomri_core.system.progress import Progress

BINS = 32
_DARK, _FAINT, _FULL = 0.03, 0.2, 0.999
_EMPTY_SHARE, _SATURATED_SHARE, _NOISE_CORRELATION = 0.998, 0.05, 0.3
_UNLIKE = 8.0
_FEW = 8


@dataclass(frozen=True)
class Suspicious:
    """A slice to look at: its row, counted from 0, and why."""

    row: int
    reason: str

    @property
    def kind(self) -> str:
        """The reason without the row it refers to."""
        return self.reason.split(" (")[0]


@dataclass
class Findings:
    """What a check found. ``defects`` make a study wrong, ``warnings`` may.

    ``histograms`` counts pixels of each hospital in 32 equal bins of [0, 1], after each patient's
    normalisation.
    """

    path: Path
    columns: Columns
    defects: list[str]
    warnings: list[str]
    suspicious: list[Suspicious] = field(default_factory=list)
    histograms: dict[str, np.ndarray] = field(default_factory=dict)


def check_archive(path: Path, progress: Progress) -> Findings:
    """Everything that is wrong in the archive at ``path``, reading each patient twice.

    Memory holds one slice, and 16 bytes of each. ``InputError`` when the file is no archive.
    """
    columns = read_columns(path)
    findings = Findings(path, columns, list(columns.defects), _label_warnings(columns))
    seen: dict[bytes, list[int]] = defaultdict(list)
    means: dict[str, float] = {}
    details: dict[int, tuple[float, float]] = {}
    repeats = Repeats()
    names, inverse = np.unique(columns.patients, return_inverse=True)
    with (
        open_hdf5(path) as file,
        progress.phase("checking", unit="patients", total=len(names)) as step,
    ):
        images = file.dataset("image")
        for number, name in enumerate(names):
            rows = np.flatnonzero(inverse == number)
            try:
                means[str(name)] = _patient(images, rows, findings, seen, details, repeats)
            except InputError as error:
                findings.defects.append(f"patient {name}: {error.got} in its slices")
            except (OSError, RuntimeError):
                findings.defects.append(f"patient {name}: unreadable pixels")
            step()
    _duplicates(seen, findings)
    _repeated(repeats, findings)
    for row in aborted_rows(details, columns.hospital):
        findings.suspicious.append(Suspicious(row, "blurred along one axis: aborted scan?"))
    _unlike_others(means, findings)
    findings.suspicious.sort(key=lambda one: one.row)
    if len(names) < 2:
        findings.defects.append("one patient: at least two are needed, to train and to validate")
    return findings


def _patient(
    images: h5py.Dataset,
    rows: np.ndarray,
    findings: Findings,
    seen: dict[bytes, list[int]],
    details: dict[int, tuple[float, float]],
    repeats: Repeats,
) -> float:
    """Looks at one patient's slices; the mean grey value."""
    scale = volume_scale(_stream(images, rows), len(rows), "patient")
    total = 0.0
    for row in rows.tolist():
        stored = np.asarray(images[row])
        image = normalise(stored, scale)
        total += float(image.mean())
        hospital = str(findings.columns.hospital[row])
        counts = np.histogram(image, bins=BINS, range=(0.0, 1.0))[0]
        findings.histograms[hospital] = findings.histograms.get(hospital, 0) + counts
        signed = negative_share(stored) > SIGNED_SHARE
        reason = "negative values: phase?" if signed else _look(image)
        if reason:
            findings.suspicious.append(Suspicious(row, reason))
        if reason != "almost empty":
            details[row] = detail_ratio(image)
            repeats.add(row, str(findings.columns.patients[row]), image)
            coarse = np.round(image * (255.0 / max(float(image.max()), 1e-6))).astype(np.uint8)
            seen[hashlib.sha256(coarse.tobytes()).digest()[:16]].append(row)
    return total / len(rows)


def _look(image: np.ndarray) -> str:
    """Why a person should look at a normalised slice, '' if nothing is odd."""
    if (image < _DARK).mean() > _EMPTY_SHARE:
        return "almost empty"
    if len(np.unique(image)) <= _FEW:
        return "few grey values: a mask?" if image.max() > _FAINT else "almost empty"
    if suspect_text(image):
        return "text drawn in?"
    if (image > _FULL).mean() > _SATURATED_SHARE:
        return "saturated"
    if looks_like_phase(image):
        return "phase image?"
    if looks_tiled(image):
        return "several slices in one picture?"
    left, right = image[:, :-1] - image.mean(), image[:, 1:] - image.mean()
    energy = float((left**2).sum() * (right**2).sum()) ** 0.5
    if energy == 0 or float((left * right).sum()) / energy < _NOISE_CORRELATION:
        return "noise only?"
    return ""


def _duplicates(seen: dict[bytes, list[int]], findings: Findings) -> None:
    patients = findings.columns.patients
    across, within = 0, 0
    for rows in seen.values():
        if len(rows) < 2:
            continue
        several = len(set(patients[rows].tolist())) > 1
        across, within = across + several, within + (not several)
        reason = "same slice, other patient" if several else "same slice twice"
        for row in rows:
            other = rows[0] if row != rows[0] else rows[1]
            findings.suspicious.append(Suspicious(row, f"{reason} ({other})"))
    if across:
        findings.defects.append(
            f"the same slice stands under several patients, {across} times: one person twice?"
        )
    if within:
        findings.warnings.append(f"the same slice stands twice under a patient, {within} times")


def _repeated(repeats: Repeats, findings: Findings) -> None:
    """Nearly equal slices of two patients: the same picture in another export."""
    known = {one.row for one in findings.suspicious if one.reason.startswith("same slice")}
    pairs = [pair for pair in repeats.pairs() if pair[0] not in known]
    first: dict[int, str] = {}
    for row, other, turned in pairs:
        how = f"nearly the same,{' turned,' if turned else ''} other patient"
        first.setdefault(row, f"{how} ({other})")
        first.setdefault(other, f"{how} ({row})")
    findings.suspicious += [Suspicious(row, reason) for row, reason in first.items()]
    if pairs:
        findings.warnings.append(
            f"slices of two patients are nearly the same, {len(pairs)} times: one person twice?"
        )


def _unlike_others(means: dict[str, float], findings: Findings) -> None:
    """Patients whose mean grey value lies far from the others' of their hospital."""
    columns = findings.columns
    _, first = np.unique(columns.patients, return_index=True)
    where = {str(columns.patients[i]): str(columns.hospital[i]) for i in first}
    for hospital in sorted(set(where.values())):
        here = {name: mean for name, mean in means.items() if where[name] == hospital}
        values = np.array(list(here.values()))
        if len(values) < 5:
            continue
        middle = np.median(values)
        spread = max(float(np.median(np.abs(values - middle))), 0.01)
        for name, mean in here.items():
            if abs(mean - middle) > _UNLIKE * spread:
                rows = np.flatnonzero(columns.patients == name)
                reason = "patient unlike the others"
                findings.suspicious.append(Suspicious(int(rows[len(rows) // 2]), reason))


def _label_warnings(columns: Columns) -> list[str]:
    labels, warnings = columns.labels, []
    if labels is None:
        return []
    if not labels.names:
        warnings.append("no labels: usable as an audit set only")
    for name, column in zip(labels.names, labels.values.T):
        if not column.any() or column.all():
            warnings.append(f"label {name}: {'all' if column.any() else 'no'} slices have it")
        for part in ("val", "test"):
            inside = columns.split == part
            if inside.any() and column.any() and not column[inside].any():
                warnings.append(f"label {name}: no slice of split {part} has it")
    return warnings


def _stream(images: h5py.Dataset, rows: np.ndarray) -> Iterator[np.ndarray]:
    return (np.asarray(images[row]) for row in rows.tolist())
