"""Folders of DICOM files as volumes: one a series (and, within it, one an orientation)."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from infomri_core.data.importing.bounds import deflated_refusal, frames_refusal
from infomri_core.data.importing.choice import Choice
from infomri_core.data.importing.formats.dicom.files import quiet, read_header, unpacked_size
from infomri_core.data.importing.formats.dicom.header import Header, frames, refusal
from infomri_core.data.importing.formats.dicom.instances import Instances
from infomri_core.data.importing.formats.dicom.pixels import read_frames
from infomri_core.data.importing.formats.dicom.segmentations import Segmentations
from infomri_core.data.importing.formats.extra import need
from infomri_core.data.importing.patients import one_person_each
from infomri_core.data.importing.volume import (
    PACKED,
    Journal,
    Volume,
    built,
    fingerprint,
    packed,
    walk,
)


def scan_dicom(
    folder: Path,
    choice: Choice,
    journal: Journal,
    tick: Callable[[], None],
    masks: Sequence[str] = (),
    outlines: tuple[str, ...] = (),
) -> list[Volume]:
    """The volumes below ``folder`` that ``choice`` takes, read from headers alone; with ``masks``,
    a folder of segmentations a rater, their segments called ``outlines`` come along.

    Whatever is passed over goes to ``journal`` with its reason. ``tick`` is called once a file.
    A patient id under which the files name two people (birth date, sex or issuer) is left out.
    """
    drawn = Segmentations(masks, outlines, journal) if masks else None
    found = scan_series(folder, choice, journal, tick, drawn)
    volumes = [volume for volume, _ in found]
    if drawn is not None:
        volumes = [replace(volume, outlines=drawn.of(own)) for volume, own in found]
        drawn.check(journal)
    repeated = sum(len(v) != len(set(v.positions)) for v in volumes)
    if repeated:
        journal.warn(f"series with several images of one place (echoes, time points): {repeated}")
    return volumes


def scan_series(
    place: Path,
    choice: Choice,
    journal: Journal,
    tick: Callable[[], None],
    drawn: Segmentations | None = None,
) -> list[tuple[Volume, list[Header]]]:
    """The volumes of a file, or of all below a folder, each with the headers of its slices."""
    need("pydicom")
    instances, folder = Instances(journal), place if place.is_dir() else place.parent
    for path in walk(place) if place.is_dir() else [place]:
        tick()
        if drawn is not None and drawn.holds(path):
            continue
        _add(path, choice, journal, instances)
    taken = one_person_each(instances.headers(), journal)
    groups: dict[tuple[Any, ...], list[Header]] = defaultdict(list)
    for header in taken:
        groups[header.group].append(header)
    slices: list[list[Header]] = []
    volumes = built(
        groups.values(), lambda group: _volume(group, folder, slices), lambda g: g[0].path, journal
    )
    return list(zip(volumes, slices))


def _add(path: Path, choice: Choice, journal: Journal, instances: Instances) -> None:
    """Add a file's frames to ``instances``."""
    import pydicom

    if packed(path):
        return journal.skip(path, PACKED)
    with quiet():
        try:
            if reason := deflated_refusal(path):
                return journal.skip(path, reason)
            dataset = read_header(path)
            reason = refusal(dataset, choice) or frames_refusal(dataset, unpacked_size(path))
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
    wanted = [frame for frame in found if isinstance(frame, Header)]
    if wanted and not instances.add(uid, wanted):
        return None
    for frame in found:
        if isinstance(frame, str):
            journal.skip(path, frame)
    return None


def _comparable(headers: list[Header]) -> list[Header]:
    """Philips' slices on one scale: where the scale slope SS differs, the floating-point values
    PV / SS + RI / (RS SS) stand for the displayed ones PV RS + RI (Chenevert et al. 2014, Transl
    Oncol 7:65)."""
    if len({header.scale for header in headers} - {None}) < 2:
        return headers
    return [
        replace(h, slope=1 / h.scale, intercept=h.intercept / (h.slope * h.scale))
        if h.scale
        else h
        for h in headers
    ]


def _volume(headers: list[Header], folder: Path, slices: list[list[Header]]) -> Volume:
    """The volume of ``headers``, which are appended to ``slices`` in its order."""
    headers = _comparable(headers)
    known = not any(np.isnan(header.place) for header in headers)
    place: Callable[[Header], float] = lambda h: round(h.place, 2) if known else 0.0  # noqa: E731
    ordered = sorted(headers, key=lambda h: (place(h), h.order, h.instance))
    rank = {p: i for i, p in enumerate(sorted({place(h) for h in ordered}))}
    steps = [rank[place(h)] if known else i for i, h in enumerate(ordered)]
    first = ordered[0]
    files = sorted({header.path for header in ordered})
    volume = Volume(
        patient=first.patient,
        study=tuple(name for name in first.study if name),
        series=(first.series,),
        slices=tuple(header.instance for header in ordered),
        positions=tuple(step / max(steps[-1], 1) for step in steps),
        shape=first.turn.pair(first.shape),
        spacing=_spacing(ordered),
        plane=first.turn.plane,
        name=first.description,
        place=f"{files[0].parent.relative_to(folder)} {first.description}".strip(),
        fingerprint=fingerprint(*files),
        read=partial(read_frames, ordered),
    )
    slices.append(ordered)
    return volume


def _spacing(headers: list[Header]) -> tuple[float, float]:
    return Counter(header.turn.pair(header.spacing) for header in headers).most_common(1)[0][0]
