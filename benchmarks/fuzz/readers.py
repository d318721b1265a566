"""Every reader of what comes from outside, with what it starts from and how that is damaged."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.fuzz import corpus
from benchmarks.fuzz import mutations as by
from benchmarks.fuzz.decode import decode, message_of
from benchmarks.fuzz.outlines import OUTLINES
from benchmarks.fuzz.reader import Reader, Wrong, always
from fl_client.policy.consent import read_consent
from fl_client.settings import read_settings
from fl_server.settings import read_settings as read_centre
from infomri_core.data import open_dataset
from infomri_core.data.fastmri.annotations import read_annotations, read_file_list
from infomri_core.data.hdf5.limits import MAX_SIDE
from infomri_core.data.importing.choice import Choice
from infomri_core.data.importing.formats.dicom.scan import scan_dicom
from infomri_core.data.importing.formats.ismrmrd.scan import scan_ismrmrd
from infomri_core.data.importing.formats.nifti import scan_nifti
from infomri_core.data.importing.formats.pictures import scan_pictures
from infomri_core.data.importing.patients import PatientRule
from infomri_core.data.importing.staging import Workshop
from infomri_core.data.importing.tables.label_table import read_labels
from infomri_core.data.importing.volume import Journal, Volume
from infomri_core.inference.scans import open_scan
from infomri_core.messages import wire
from infomri_core.plan.reading import read_plan
from tests.support.vault_fakes import encode, enrol_task, evaluate_task, release_task, train_task


def _pixels(volumes: list[Volume], journal: Journal, folder: Path) -> str:
    """Every volume made into a part of an archive, as an import does, and looked at."""
    n, left = 0, set(journal.skipped)
    with tempfile.TemporaryDirectory(dir=folder) as made:
        workshop = Workshop(Path(made) / "archive.h5")
        for number, volume in enumerate(volumes):
            part = workshop.make(f"part{number}", volume, None)
            left.update(reason for _, reason in part.left)
            if len(part.kept) + len(part.left) != len(volume):
                raise Wrong("another number of slices than were announced")
            for image in part.images() if part.kept else ():
                _check_image(np.asarray(image))
                n += 1
        workshop.close(finished=True)
    return f"{'read' if n else 'nothing read'} ({', '.join(sorted(left)) or 'nothing left out'})"


def _check_image(image: np.ndarray) -> None:
    if image.ndim != 2 or max(image.shape) > MAX_SIDE or not np.isfinite(image).all():
        raise Wrong("an image that is none")
    if image.size and image.min() < 0:
        raise Wrong("negative magnitudes")


def _scan(scan: Callable[..., list[Volume]], *, ruled: bool = True) -> Callable[[Path], str]:
    def read(path: Path) -> str:
        journal, rule = Journal(), ((PatientRule(),) if ruled else ())
        volumes = scan(path.parent, Choice(plane="any"), *rule, journal, lambda: None)
        return _pixels(volumes, journal, path.parent.parent)

    return read


def _opened(uri: str) -> Callable[[Path], str]:
    def read(path: Path) -> str:
        dataset = open_dataset(uri.format(path=path, folder=path.parent))
        for image in dataset.images(np.arange(min(len(dataset), 4))).numpy():
            _check_image(image)
        return "read"

    return read


def _shown(side: int) -> Callable[[Path], str]:
    def read(path: Path) -> str:
        for batch in open_scan(str(path), (side, side)).batches():
            if not np.isfinite(batch.numpy()).all():
                raise Wrong("a scan that is not finite")
        return "read"

    return read


def _parsed(parse: Callable[[Path], object]) -> Callable[[Path], str]:
    def read(path: Path) -> str:
        parse(path)
        return "read"

    return read


def _decoded(path: Path) -> str:
    decode(path.read_bytes())
    return "decoded"


def _messages(data: bytes, rng: by.Rng) -> bytes:
    """A message made of odd parts, or a good one whose header's words or bytes are damaged."""
    if rng.random() < 0.4:
        return wire.encode(message_of(rng.bytes(96)))
    size = int.from_bytes(data[:8], "little")
    header = (by.words if rng.random() < 0.7 else by.raw_bytes)(data[8 : 8 + size], rng)
    length = len(header) if rng.random() < 0.9 else size
    return length.to_bytes(8, "little") + header + data[8 + size :]


_TASKS = tuple(
    encode(task) for task in (enrol_task(), train_task(), evaluate_task(), release_task())
)
_LABELS = "patient,slice,tear,oedema,split,hospital\na,1,1,0,train,n\nb,2,0,1,val,n\n"
_MARKS = "file,slice,study_level,x,y,width,height,label\nf1,3,No,1,2,3,4,Tear\nf2,0,Yes,,,,,Cyst\n"

READERS: dict[str, Reader] = {
    "wire": Reader(
        "a.bin",
        tuple((lambda path, data=data: path.write_bytes(data)) for data in _TASKS),
        always(_messages),
        _decoded,
    ),
    "slices": Reader(
        "a.h5",
        (corpus.slices(False), corpus.slices(True)),
        by.hdf5,
        _opened("slices:{path}"),
    ),
    "fastmri": Reader(
        "a.h5",
        (corpus.fastmri,),
        lambda folder: by.hdf5(folder, ("patient_id", "acquisition", "max", "mask")),
        _opened("fastmri:{folder}?size=8"),
    ),
    "scan-hdf5": Reader("a.h5", (corpus.slices(False), corpus.fastmri), by.hdf5, _shown(8)),
    "scan-npy": Reader("a.npy", (corpus.array,), always(by.head(128)), _shown(8)),
    "scan-png": Reader("a.png", (corpus.picture("L", "PNG"),), always(by.png), _shown(16)),
    "mnist": Reader(
        "a.npz",
        (corpus.mnist,),
        always(by.archive(by.head(128))),
        _opened("mnist:{path}?role=site&hospitals=2&audit_fraction=0.1&hospital=H1"),
    ),
    "ismrmrd": Reader(
        "a.h5", (corpus.raw(False), corpus.raw(True)), by.ismrmrd, _scan(scan_ismrmrd)
    ),
    "nifti": Reader(
        "a.nii",
        (
            corpus.nifti("i2", (8, 8, 3)),
            corpus.nifti("f4", (8, 8, 3)),
            corpus.nifti("u1", (8, 8)),
            corpus.nifti("i2", (8, 8, 2, 2)),
        ),
        always(by.head(352)),
        _scan(scan_nifti),
    ),
    "nifti-gz": Reader(
        "a.nii.gz",
        (corpus.nifti("i2", (8, 8, 3)),),
        always(by.packed(by.head(352))),
        _scan(scan_nifti),
    ),
    "dicom": Reader(
        "a.dcm",
        (
            corpus.dicom(),
            corpus.dicom(RescaleSlope=2.0, RescaleIntercept=-3.0),
            corpus.enhanced,
            corpus.packed,
        ),
        always(by.dicom),
        _scan(scan_dicom, ruled=False),
    ),
    "png": Reader(
        "a.png",
        tuple(corpus.picture(mode, "PNG") for mode in ("L", "RGB", "P", "LA", "I;16", "1")),
        always(by.png),
        _scan(scan_pictures),
    ),
    "tiff": Reader(
        "a.tif",
        (
            *(corpus.picture(mode, "TIFF") for mode in ("L", "RGB", "I;16", "F")),
            corpus.picture("L", "TIFF", 3),
        ),
        always(by.raw_bytes),
        _scan(scan_pictures),
    ),
    "jpeg": Reader(
        "a.jpg",
        (corpus.picture("L", "JPEG"), corpus.picture("RGB", "JPEG")),
        always(by.raw_bytes),
        _scan(scan_pictures),
    ),
    "bmp": Reader(
        "a.bmp", (corpus.picture("L", "BMP"),), always(by.head(64)), _scan(scan_pictures)
    ),
    "labels": Reader(
        "a.csv",
        (corpus.text(_LABELS), corpus.text(_LABELS.replace(",", ";"))),
        always(by.words),
        _parsed(lambda path: read_labels(path, ())),
    ),
    "annotations": Reader(
        "a.csv", (corpus.text(_MARKS),), always(by.words), _parsed(read_annotations)
    ),
    "lists": Reader(
        "a.txt",
        (corpus.text("file1000001\nfile1000002.h5\n\nTotal: 2 volumes\n"),),
        always(by.words),
        _parsed(read_file_list),
    ),
    "consent": Reader(
        "a.txt", (corpus.text("p1 # signed\np2\n"),), always(by.words), _parsed(read_consent)
    ),
    "plan": Reader(
        "plan.toml",
        tuple(corpus.text(each) for each in corpus.PLANS),
        always(by.words),
        _parsed(read_plan),
    ),
    "site": Reader(
        "site.toml", (corpus.text(corpus.SITE),), always(by.words), _parsed(read_settings)
    ),
    "centre": Reader(
        "centre.toml", (corpus.text(corpus.CENTRE),), always(by.words), _parsed(read_centre)
    ),
    **OUTLINES,
}
