"""From volumes that were found to an archive that is whole: labels, pixels, rows, report."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from infomri_core.data.importing.archive import Entry, write_archive
from infomri_core.data.importing.choice import PLANES, Choice
from infomri_core.data.importing.identity import keyed, patient_code, site_secret
from infomri_core.data.importing.report import (
    OutlineCounts,
    Report,
    count_outlines,
    report_paths,
    write_reports,
)
from infomri_core.data.importing.staging import Workshop
from infomri_core.data.importing.tables.label_join import Rows, join
from infomri_core.data.importing.tables.label_table import Kind, LabelTable, read_labels
from infomri_core.data.importing.volume import Journal, Volume
from infomri_core.data.split import check_split
from infomri_core.system.errors import InputError
from infomri_core.system.files import check_output
from infomri_core.system.progress import Progress

_ROOM = 16 << 20
# What makes more of a folder's files be taken, by format.
_REMEDIES = {
    "DICOM": "widen --series, --modality or --plane (`infomri data series` lists what there is)",
    "ISMRMRD": "widen --series or --plane, give fully sampled Cartesian scans",
    "NIfTI": "widen --series (patterns on the path) or --plane",
    "pictures": "widen --series (patterns on the path)",
}

Scan = Callable[[Journal, Callable[[], None]], list[Volume]]


@dataclass(frozen=True)
class Target:
    """Where an import goes and how: ``size`` (H, W) or None to keep the stored one, ``labels`` a
    table or None, ``columns`` its label columns, ``hospital`` the name of all slices or '',
    ``outlines`` the names of the masks' values 1, 2, .., if any."""

    out: Path
    secret: Path
    labels: Path | None = None
    columns: tuple[str, ...] = ()
    size: tuple[int, int] | None = None
    hospital: str = ""
    force: bool = False
    outlines: tuple[str, ...] = ()


def import_study(
    source: str, scan: Scan, choice: Choice, target: Target, progress: Progress
) -> Report:
    """Read what ``scan`` finds into a slice archive at ``target.out``, de-identified.

    Volumes that an interrupted import finished are not read again, as long as their files and
    the size are the same. The archive appears whole or not at all. Memory holds the headers and
    one volume's slice. ``InputError`` when the archive exists, cannot be written, or the data
    and the label table do not fit together.
    """
    choice.check()
    _check_out(target)
    secret = site_secret(target.secret)
    table = read_labels(target.labels, target.columns) if target.labels else None
    workshop, finished, journal = Workshop(target.out), False, Journal()
    for sentence in table.warnings if table else ():
        journal.warn(sentence)
    try:
        with progress.phase("reading headers", unit="files") as step:
            volumes = _of_plane(scan(journal, step), choice, journal)
        rows, unlabelled = join(volumes, table, journal)
        if not rows:
            raise _nothing(source, journal, unlabelled, target)
        shape = target.size or _one_shape(rows)
        _check_columns(rows, secret, table)
        n_slices = sum(len(volume) for volume, _ in rows)
        n_bytes = _pixel_bytes(rows) * n_slices * shape[0] * shape[1]
        check_output(target.out.parent, "a folder", n_bytes + _ROOM)
        entries, taken = _read_all(rows, secret, workshop, target, journal, progress)
        if not any(entry.chosen() for entry in entries):
            raise _nothing(source, journal, unlabelled, target)
        with progress.phase("writing the archive", unit="volumes", total=len(entries)) as step:
            archive = workshop.folder / "archive.h5"
            named = target.outlines
            write_archive(archive, entries, shape, table, target.hospital, step, named)
        report = _report(source, target, shape, entries, journal, unlabelled, table)
        archive.replace(target.out)
        write_reports(target.out, report, journal, taken)
        finished = True
        return report
    except OSError as error:
        got = error.strerror or str(error)
        remedy = "fix that; the same command continues from what is done"
        raise InputError(str(target.out), "room and rights to write", got, remedy) from error
    finally:
        workshop.close(finished=finished)


def _check_out(target: Target) -> None:
    if target.out.suffix not in (".h5", ".hdf5"):
        raise InputError("--out", "a name that ends in .h5", f"'{target.out.name}'", "rename it")
    if target.out.is_dir():
        raise InputError(str(target.out), "a file to write", "a folder", "choose another --out")
    there = [path for path in (target.out, *report_paths(target.out)) if path.exists()]
    if there and not target.force:
        remedy = "choose another --out, or write over it with --force"
        raise InputError(str(there[0]), "no such file yet", "one that exists", remedy)


def _of_plane(volumes: list[Volume], choice: Choice, journal: Journal) -> list[Volume]:
    if choice.plane in PLANES:
        for volume in volumes:
            if volume.plane != choice.plane:
                journal.skip(volume.place, f"plane is {volume.plane}", len(volume))
        return [volume for volume in volumes if volume.plane == choice.plane]
    planes = Counter[str]()
    for volume in volumes:
        planes[volume.plane] += len(volume)
    known = {name: n for name, n in planes.items() if name != "unknown"}
    if len(known) > 1 and choice.plane != "any":
        got = ", ".join(f"{name} {n}" for name, n in sorted(known.items()))
        remedy = "choose with --plane or --series; --plane any takes all"
        raise InputError("series", "slices of one plane", f"{got} (slices)", remedy)
    if "unknown" in planes:
        journal.warn(f"{planes['unknown']} slices have no orientation and are not turned")
    return volumes


def _one_shape(rows: Rows) -> tuple[int, int]:
    shapes = Counter[tuple[int, int]]()
    for volume, _ in rows:
        shapes[volume.shape] += len(volume)
    if len(shapes) > 1:
        got = ", ".join(f"{h} x {w} ({n} slices)" for (h, w), n in shapes.most_common(6))
        largest = max(max(shape) for shape in shapes)
        remedy = f"resample to one with --size, such as --size {largest}"
        raise InputError("series", "slices of one shape", got, remedy)
    return next(iter(shapes))


def _check_columns(rows: Rows, secret: bytes, table: LabelTable | None) -> None:
    """Refuse split and hospital columns that are filled only in part, and divided patients."""
    if table is None:
        return
    kept = [(volume.patient, row) for volume, found in rows for row in found if row is not None]
    for name in ("hospital", "split"):
        empty = [row.number for _, row in kept if not getattr(row, name)]
        if empty and len(empty) < len(kept):
            remedy = "fill it in everywhere, or nowhere"
            where = f"{table.where} row {empty[0]} column '{name}'"
            raise InputError(where, f"a {name}", "nothing", remedy)
    if kept and kept[0][1].split:
        codes = {patient: patient_code(secret, patient) for patient, _ in kept}
        patients = np.array([codes[patient] for patient, _ in kept])
        check_split(patients, np.array([row.split for _, row in kept]), table.where)


def _read_all(
    rows: Rows,
    secret: bytes,
    workshop: Workshop,
    target: Target,
    journal: Journal,
    progress: Progress,
) -> tuple[list[Entry], list[tuple[str, str]]]:
    """Every volume's part, made now or found, in the order of the patients' codes."""
    entries: list[tuple[str, Entry]] = []
    taken: list[tuple[str, str]] = []
    with progress.phase(
        "reading images", unit="slices", total=sum(len(v) for v, _ in rows)
    ) as step:
        for volume, found in rows:
            key = _key(volume, secret, target.size)
            part = workshop.part(key) or workshop.make(key, volume, target.size)
            code = patient_code(secret, volume.patient)
            for _, reason in part.left:
                journal.skip(volume.place, reason)
            chosen = tuple(found[number] for number in part.kept)
            seen = volume.outlines.present if volume.outlines is not None else ()
            entries.append((key, Entry(code, volume.plane, part, volume.positions, chosen, seen)))
            taken.append((volume.place, code))
            step(len(volume))
    entries.sort(key=lambda pair: (pair[1].code, pair[0]))
    return [entry for _, entry in entries], taken


def _key(volume: Volume, secret: bytes, size: tuple[int, int] | None) -> str:
    """What a finished part is called: another for changed files, slices or size."""
    return keyed(secret, "part", f"{volume!r} {size}")


def _pixel_bytes(rows: Rows) -> int:
    """Bytes a pixel needs at most: stored twice, and so are its outlines."""
    outlines = rows[0][0].outlines
    return 4 + 2 * (len(outlines.present) if outlines is not None else 0)


def _report(
    source: str,
    target: Target,
    shape: tuple[int, int],
    entries: list[Entry],
    journal: Journal,
    unlabelled: dict[str, int],
    table: LabelTable | None,
) -> Report:
    planes = Counter[str]()
    for entry in entries:
        planes[entry.plane] += len(entry.chosen())
    # Before the journal's warnings are read, since it may add one.
    outlines = _outline_counts(entries, target.outlines, journal)
    return Report(
        source=source,
        archive=target.out.name,
        n_slices=sum(len(entry.chosen()) for entry in entries),
        n_patients=len({entry.code for entry in entries if entry.chosen()}),
        n_volumes=sum(bool(entry.chosen()) for entry in entries),
        shape=shape,
        resized=target.size is not None,
        planes=dict(planes),
        labels=_label_counts(entries, table),
        outlines=outlines,
        skipped=dict(journal.skipped),
        unlabelled=unlabelled,
        unknown_rows=tuple(table.unused()) if table else (),
        suspected_text=_text_rows(entries),
        warnings=tuple(journal.warnings),
    )


def _label_counts(entries: list[Entry], table: LabelTable | None) -> dict[str, int]:
    if table is None:
        return {}
    values = [row.labels or () for entry in entries for _, row in entry.chosen()]
    if table.kind is Kind.BINARY:
        return {name: sum(row[i] for row in values) for i, name in enumerate(table.names)}
    return {name: sum(row[0] == i for row in values) for i, name in enumerate(table.names)}


def _outline_counts(
    entries: list[Entry], names: tuple[str, ...], journal: Journal
) -> OutlineCounts | None:
    n_raters = len(entries[0].present)
    if not n_raters:
        return None
    slices = [
        (entry.part.values[i], any(entry.present)) for entry in entries for i, _ in entry.chosen()
    ]
    found = {value for values, _ in slices for value in values}
    if not names and len(found) > 1:
        journal.warn(
            f"masks hold {len(found)} values that --outline does not name: all that is not zero "
            "counts as one outline"
        )
    return count_outlines(n_raters, slices, names)


def _text_rows(entries: list[Entry]) -> tuple[int, ...]:
    """Rows of the archive, from 0, whose slices may have text drawn into them."""
    suspected = [
        entry.part.kept[i] in entry.part.text for entry in entries for i, _ in entry.chosen()
    ]
    return tuple(np.flatnonzero(suspected).tolist())


def _nothing(
    source: str, journal: Journal, unlabelled: dict[str, int], target: Target
) -> InputError:
    counts = Counter(journal.skipped) + Counter(unlabelled)
    reasons = "; ".join(f"{why}: {n}" for why, n in counts.most_common(5)) or "no files"
    remedy = _REMEDIES.get(source, "widen --series") + ", or fix the ids of the label table"
    return InputError(str(target.out), "at least one slice to take", f"none ({reasons})", remedy)
