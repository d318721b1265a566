"""DICOM files as they lie on disks: with and without the preamble of PS3.10, gzipped or not."""

import gzip
import io
import logging
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from infomri_core.data.hdf5.limits import limit_bytes

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_DEFLATED = b"1.2.840.10008.1.2.1.99"


@contextmanager
def quiet() -> Iterator[None]:
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


def read_header(path: Path) -> "Dataset":
    """The data set without its pixels; pydicom's errors where it is none."""
    return _read(path, header_only=True)


def read_whole(path: Path) -> "Dataset":
    """The data set with its pixels; pydicom's errors where it is none."""
    return _read(path, header_only=False)


def pixel_source(path: Path) -> "Path | Dataset":
    """What pydicom decodes pixels from: the file, or its data set where that needs help."""
    if path.suffix.lower() != ".gz" and _has_preamble(path):
        return path
    return _read(path, header_only=False)


def unpacked_size(path: Path) -> int:
    """Bytes of the file, those that a gzipped one unpacks to; pydicom's error past the limit."""
    return (
        len(_unpacked(path).getbuffer()) if path.suffix.lower() == ".gz" else path.stat().st_size
    )


def _read(path: Path, *, header_only: bool) -> "Dataset":
    import pydicom

    source = _unpacked(path) if path.suffix.lower() == ".gz" else path
    try:
        return pydicom.dcmread(source, stop_before_pixels=header_only)
    except pydicom.errors.InvalidDicomError:
        if isinstance(source, io.BytesIO):
            source.seek(0)
        dataset = pydicom.dcmread(source, stop_before_pixels=header_only, force=True)
        # Any bytes read as some data set: only one that says what it is counts.
        if "SOPClassUID" not in dataset or "SOPInstanceUID" not in dataset:
            raise
        _name_syntax(dataset)
        return dataset


def _name_syntax(dataset: "Dataset") -> None:
    """Without file meta information the encoding found while reading is the transfer syntax."""
    from pydicom import uid
    from pydicom.dataset import FileMetaDataset

    meta = getattr(dataset, "file_meta", None)
    dataset.file_meta = meta if meta is not None else FileMetaDataset()
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        plain = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if implicit else plain


def _has_preamble(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _unpacked(path: Path) -> io.BytesIO:
    from pydicom.errors import InvalidDicomError

    try:
        with gzip.open(path) as stream:
            data = stream.read(limit_bytes() + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InvalidDicomError("a damaged gzip file") from error
    if len(data) > limit_bytes() or _DEFLATED in data[:1024]:
        raise InvalidDicomError("a gzip file that unpacks to more than the limit, or twice")
    return io.BytesIO(data)
