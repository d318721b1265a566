"""Pixels of DICOM frames: decompressed one at a time, turned, as grey values."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from infomri_core.data.importing.bounds import codestream_refusal
from infomri_core.data.importing.component import negative_share
from infomri_core.data.importing.formats.dicom.files import pixel_source, quiet
from infomri_core.data.importing.formats.dicom.header import Header
from infomri_core.data.importing.formats.pixels import suspect_text
from infomri_core.data.importing.volume import Frame, Left, scratch_array

Stored = np.ndarray | Left


def read_frames(headers: Sequence[Header], scratch: Path) -> Iterator[Frame | Left]:
    """The frames of ``headers``, in that order; memory holds one.

    Files of several frames are first decoded in their own order to ``scratch``, since finding a
    frame costs a pass over the file's header.
    """
    counts = Counter(header.path for header in headers)
    spooled: dict[tuple[Path, int], Stored] = {}
    for number, path in enumerate(path for path, n in counts.items() if n > 1):
        inside = sorted({header.frame for header in headers if header.path == path})
        decoded = _spool(path, inside, scratch / f"frames{number}.raw")
        spooled |= {(path, frame): stored for frame, stored in zip(inside, decoded)}
    for header in headers:
        stored = spooled.get((header.path, header.frame))
        if stored is None:
            (stored,) = stored_frames(header.path, [header.frame])
        yield _finished(stored, header)


def stored_frames(path: Path, numbers: Sequence[int]) -> Iterator[Stored]:
    """Stored values of some frames of a file, each (H, W), or why one cannot be decoded."""
    from pydicom.pixels.utils import iter_pixels

    done = 0
    while done < len(numbers):
        with quiet():
            try:
                source = pixel_source(path)
                if not done and (reason := codestream_refusal(source)):
                    yield from [Left(reason)] * len(numbers)
                    return
                for frame in iter_pixels(source, indices=numbers[done:], raw=True):
                    done += 1
                    yield frame
                if done < len(numbers):
                    raise ValueError("fewer frames than the header says")
            except Exception as error:
                # Decoders raise what they like on damaged data; none of it may end the import.
                done += 1
                yield Left(_reason(error))


def _spool(path: Path, numbers: Sequence[int], target: Path) -> list[Stored]:
    """Frames of one file as views of the file ``target``."""
    results: list[Stored] = []
    spool: np.memmap | None = None
    for index, stored in enumerate(stored_frames(path, numbers)):
        if isinstance(stored, Left):
            results.append(stored)
            continue
        if spool is None:
            spool = scratch_array(target, stored.dtype, (len(numbers), *stored.shape))
        if stored.shape == spool.shape[1:]:
            spool[index] = stored
            results.append(spool[index])
        else:
            results.append(Left("pixel data of another shape than the header's"))
    return results


def _finished(stored: Stored, header: Header) -> Frame | Left:
    if isinstance(stored, Left):
        return stored
    if header.tile is not None:
        top, left = header.tile
        stored = stored[top : top + header.shape[0], left : left + header.shape[1]]
    if stored.shape != header.shape:
        return Left("pixel data of another shape than the header's")
    values = _grey(stored.astype(np.float32), header)
    if not np.isfinite(values).all():
        return Left("NaN or infinite values")
    image = np.maximum(values, 0.0, dtype=np.float32)
    turned = np.ascontiguousarray(header.turn.apply(image))
    negative = 0.0 if header.signed else negative_share(values)
    return Frame(turned, suspect_text(image), negative)


def _grey(stored: np.ndarray, header: Header) -> np.ndarray:
    """Stored values to grey values: MONOCHROME1 turned round, slope and intercept, padding to
    zero."""
    upright = stored if header.inverted is None else np.float32(header.inverted) - stored
    values = upright * np.float32(header.slope) + np.float32(header.intercept)
    if header.padding is not None:
        low, high = header.padding
        values[(stored >= low) & (stored <= high)] = 0.0
    return values


def _reason(error: Exception) -> str:
    text = str(error)
    if "missing dependencies" in text or "plugins are missing" in text or "no plugins" in text:
        return "compressed in a way that no installed decoder knows"
    if isinstance(error, NotImplementedError) and "Transfer Syntax UID" in text:
        return "compressed in a way that no installed decoder knows"
    if "does not support 'JPEG Extended' for samples with 12-bit" in text:
        return "12-bit lossy JPEG (pylibjpeg-libjpeg, under the GPL, decodes it)"
    return "pixel data truncated or damaged"
