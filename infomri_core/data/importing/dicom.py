"""Folders of DICOM files as volumes: one a series (and, within it, one an orientation)."""

import hashlib
import logging
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from infomri_core.data.importing.choice import Choice
from infomri_core.data.importing.dicom_header import Header, frames, refusal
from infomri_core.data.importing.extra import need
from infomri_core.data.importing.patients import one_person_each
from infomri_core.data.importing.pixels import suspect_text
from infomri_core.data.importing.volume import Frame, Journal, Left, Volume, fingerprint, walk


def scan_dicom(
    folder: Path, choice: Choice, journal: Journal, tick: Callable[[], None]
) -> list[Volume]:
    """The volumes below ``folder`` that ``choice`` takes, read from headers alone.

    Whatever is passed over goes to ``journal`` with its reason. ``tick`` is called once a file.
    A patient id under which the files name two people (birth date, sex or issuer) is left out.
    """
    need("pydicom")
    instances: dict[bytes, list[Header]] = {}
    for path in walk(folder):
        tick()
        _add(path, choice, journal, instances)
    taken = one_person_each([h for found in instances.values() for h in found], journal)
    groups: dict[tuple[Any, ...], list[Header]] = defaultdict(list)
    for header in taken:
        groups[header.group].append(header)
    volumes = [_volume(group, folder) for group in groups.values()]
    repeated = sum(len(v) != len(set(v.positions)) for v in volumes)
    if repeated:
        journal.warn(f"{repeated} series hold several images of one place (echoes, time points)")
    return volumes


def _add(
    path: Path, choice: Choice, journal: Journal, instances: dict[bytes, list[Header]]
) -> None:
    """Add a file's frames to ``instances``, by the hash of their UID: each instance once.

    Of copies the largest file stays, since the others may be truncated.
    """
    import pydicom

    with _quiet():
        try:
            dataset = pydicom.dcmread(path, stop_before_pixels=True)
            reason = refusal(dataset, choice)
            found = [] if reason else frames(dataset, path)
            uid = str(dataset.get("SOPInstanceUID", "") or "")
        except pydicom.errors.InvalidDicomError:
            return journal.skip(path, "not a DICOM file")
        except OSError:
            return journal.skip(path, "unreadable file")
        except Exception:
            # A damaged header fails anywhere inside pydicom, with any type of error.
            return journal.skip(path, "damaged DICOM header")
    if reason:
        return journal.skip(path, reason)
    if not uid:
        return journal.skip(path, "no SOP instance UID")
    mark = hashlib.sha256(uid.encode()).digest()[:16]
    wanted = [frame for frame in found if isinstance(frame, Header)]
    earlier = instances.get(mark)
    if earlier:
        larger = path.stat().st_size > earlier[0].path.stat().st_size
        journal.skip(earlier[0].path if larger else path, "duplicate of an instance already taken")
        if not larger:
            return None
    for frame in found:
        if isinstance(frame, str):
            journal.skip(path, frame)
    if wanted:
        instances[mark] = wanted
    return None


def _volume(headers: list[Header], folder: Path) -> Volume:
    known = not any(np.isnan(header.place) for header in headers)
    place: Callable[[Header], float] = lambda h: round(h.place, 2) if known else 0.0  # noqa: E731
    ordered = sorted(headers, key=lambda h: (place(h), h.order, h.instance))
    rank = {p: i for i, p in enumerate(sorted({place(h) for h in ordered}))}
    steps = [rank[place(h)] if known else i for i, h in enumerate(ordered)]
    first = ordered[0]
    files = sorted({header.path for header in ordered})
    return Volume(
        patient=first.patient,
        study=tuple(name for name in first.study if name),
        series=(first.series,),
        slices=tuple(header.instance for header in ordered),
        positions=tuple(step / max(steps[-1], 1) for step in steps),
        shape=first.turn.pair(first.shape),
        spacing=_spacing(ordered),
        plane=first.turn.plane,
        place=f"{files[0].parent.relative_to(folder)} {first.description}".strip(),
        fingerprint=fingerprint(*files),
        read=partial(_read, ordered),
    )


def _spacing(headers: list[Header]) -> tuple[float, float]:
    return Counter(header.turn.pair(header.spacing) for header in headers).most_common(1)[0][0]


def _read(headers: list[Header], scratch: Path) -> Iterator[Frame | Left]:
    for header in headers:
        yield _decode(header)


def _decode(header: Header) -> Frame | Left:
    """One frame, decompressed alone: memory does not grow with the file."""
    from pydicom.pixels.utils import iter_pixels

    with _quiet():
        try:
            frame = next(iter(iter_pixels(header.path, indices=[header.frame], raw=True)))
        except Exception as error:
            # Decoders raise what they like on damaged data; none of it may end the import.
            return Left(_reason(error))
    if frame.shape != header.shape:
        return Left("pixel data of another shape than the header's")
    image = _grey(frame.astype(np.float32), header)
    return Frame(np.ascontiguousarray(header.turn.apply(image)), suspect_text(image))


def _grey(stored: np.ndarray, header: Header) -> np.ndarray:
    """Stored values to grey values: slope and intercept, MONOCHROME1 turned round, padding and
    negative values to zero."""
    upright = stored if header.inverted is None else np.float32(header.inverted) - stored
    values = upright * np.float32(header.slope) + np.float32(header.intercept)
    if header.padding is not None:
        low, high = header.padding
        values[(stored >= low) & (stored <= high)] = 0.0
    return np.maximum(values, 0.0, dtype=np.float32)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without pydicom's warnings and log lines: they quote the header. Reasons replace them."""
    log = logging.getLogger("pydicom")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _reason(error: Exception) -> str:
    text = str(error)
    if "missing dependencies" in text or "plugins are missing" in text or "no plugins" in text:
        return "compressed in a way that no installed decoder knows"
    if "does not support 'JPEG Extended' for samples with 12-bit" in text:
        return "12-bit lossy JPEG (pylibjpeg-libjpeg, under the GPL, decodes it)"
    return "pixel data truncated or damaged"
