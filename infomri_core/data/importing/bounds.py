"""What a hostile DICOM, NIfTI or picture file asks for, found out before a decoder is asked.

Each function says why a file is not read ('' when it is). Decoders allocate what the innermost
header says: a codestream of 500 bytes can ask for gigabytes, a deflated file unpacks to a thousand
times its size, a header can count more frames than its file has bytes.
"""

import gzip
import math
import mmap
import struct
from pathlib import Path
from typing import Any

from infomri_core.data.hdf5.limits import MAX_SIDE, inflates_within, limit_bytes

BOMB = "unpacks to more than its header says, or than the limit"
FRAMES = "more frames than the file has room for"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_SOC_SIZ = b"\xff\x4f\xff\x51"
_SOF = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_STEP = 1 << 20


def deflated_refusal(path: Path) -> str:
    """For a DICOM file whose data set is deflated: whether it unpacks to less than the limit."""
    import pydicom

    try:
        meta = pydicom.filereader.read_file_meta_info(path)
    except pydicom.errors.InvalidDicomError:
        return BOMB if _mentions(path, _DEFLATED.encode()) else ""
    except Exception:
        # Damaged in any way: the reader that follows says so.
        return ""
    if str(meta.get("TransferSyntaxUID", "")).strip("\0 ") != _DEFLATED:
        return ""
    length = meta.get("FileMetaInformationGroupLength")
    if not isinstance(length, int):
        return BOMB
    start, size = 128 + 4 + 12 + length, path.stat().st_size
    return "" if inflates_within(path, start, size - start, limit_bytes(), "raw") else BOMB


def frames_refusal(dataset: Any, size: int) -> str:
    """Whether the frames that a DICOM header counts can be in a file of ``size`` bytes at all."""
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    n_frames = int(dataset.get("NumberOfFrames", 1) or 1)
    if max(rows, columns) > MAX_SIDE:
        return f"a picture wider or higher than {MAX_SIDE} pixels"
    # An encapsulated frame needs an item of 8 bytes; a deflated data set was bounded above.
    meta = getattr(dataset, "file_meta", None)
    syntax = getattr(meta, "TransferSyntaxUID", None)
    if syntax is not None and (syntax.is_encapsulated or syntax == _DEFLATED):
        needed = n_frames if syntax == _DEFLATED else 8 * n_frames
        return FRAMES if needed > max(size, 1) * (1032 if syntax == _DEFLATED else 1) else ""
    bits = int(dataset.get("BitsAllocated", 16) or 16)
    return FRAMES if n_frames > 1 and n_frames * rows * columns * bits // 8 > size else ""


def codestream_refusal(source: Any) -> str:
    """For compressed DICOM pixels: whether each frame is of the size that the header says."""
    import pydicom

    file = isinstance(source, Path)
    dataset = pydicom.dcmread(source, stop_before_pixels=True) if file else source
    if not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return ""
    dataset = pydicom.dcmread(source) if file else dataset
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    n_frames = int(dataset.get("NumberOfFrames", 1) or 1)
    expected = rows * columns * max(1, int(dataset.BitsAllocated) // 8)
    rle = str(dataset.file_meta.TransferSyntaxUID) == "1.2.840.10008.1.2.5"
    for frame in pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=n_frames):
        if rle:
            if len(frame) > 2 * expected + 1024:
                return BOMB
            continue
        size = codestream_size(frame)
        if size is None:
            return "pixel data truncated or damaged"
        if size != (rows, columns):
            return BOMB
    return ""


def codestream_size(frame: bytes) -> tuple[int, int] | None:
    """(rows, columns) that a JPEG, JPEG-LS or JPEG 2000 codestream says; None if it says none."""
    at = frame.find(_SOC_SIZ)
    if frame[:2] != b"\xff\xd8" and at >= 0:
        if len(frame) < at + 24:
            return None
        width, height, left, top = struct.unpack(">4I", frame[at + 8 : at + 24])
        return (height - top, width - left)
    at = 2
    while frame[:2] == b"\xff\xd8" and at + 9 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in _SOF:
            return struct.unpack(">HH", frame[at + 5 : at + 9])
        else:
            at += 2 + int(struct.unpack(">H", frame[at + 2 : at + 4])[0])
    return None


def nifti_refusal(image: Any) -> str:
    """Whether a NIfTI image's slices, and what is unpacked for them, are within the limit."""
    shape = tuple(int(n) for n in image.shape)
    if max(shape[:3], default=0) > MAX_SIDE:
        return f"a picture wider or higher than {MAX_SIDE} pixels"
    item = max(image.get_data_dtype().itemsize, 8)
    return BOMB if math.prod(shape) * item > 4 * limit_bytes() else ""


def unpack_nifti(source: Path, target: Path, image: Any) -> None:
    """Unpack what the header of a compressed NIfTI file promises, and no byte more.

    Raises ``EOFError`` when there is less, and what ``gzip`` raises for a damaged file.
    """
    header = getattr(image.dataobj, "offset", 352)
    left = int(header) + math.prod(image.shape) * image.get_data_dtype().itemsize
    with gzip.open(source) as packed, target.open("wb") as plain:
        while left > 0:
            block = packed.read(min(_STEP, left))
            if not block:
                raise EOFError("fewer bytes than the header says")
            plain.write(block)
            left -= len(block)


def _mentions(path: Path, text: bytes) -> bool:
    if path.stat().st_size == 0:
        return False
    with (
        path.open("rb") as stream,
        mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        return content.find(text) >= 0
