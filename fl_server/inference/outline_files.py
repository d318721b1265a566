"""Outlines as files: arrays to compute with, pictures to look at, label maps for a viewer."""

import io
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from fl_server.inference.volumes.nifti import nifti_file
from fl_server.inference.volumes.segmentation import segmentation_object
from infomri_core.inference.origin import DicomOrigin, Origin
from infomri_core.inference.segments import Segments
from infomri_core.system.errors import InputError
from infomri_core.system.files import write_atomically

MOST_PICTURES = 32
_COLOURS = ("#4cc9f0", "#f9c74f", "#f94144", "#90be6d", "#b388eb")


def write(
    folder: Path,
    stem: str,
    found: Segments,
    names: tuple[str, ...],
    nifti: bool,
    origin: Origin | None = None,
    keep_identity: bool = False,
) -> list[Path]:
    """Write samples, mean probability and entropy as .npy, a picture of each of the first
    ``MOST_PICTURES`` slices; with ``nifti`` or an ``origin`` the likeliest label map, the
    probabilities and the entropy as .nii.gz, on the origin's grid; and where that is a DICOM
    series and anything is outlined, the label map as its segmentation. ``InputError`` when the
    folder cannot be written to."""
    files = {
        f"{stem}-samples.npy": _npy(found.samples),
        f"{stem}-probability.npy": _npy(found.probability),
        f"{stem}-entropy.npy": _npy(found.entropy),
    }
    for number in range(min(MOST_PICTURES, len(found.samples))):
        files[f"{stem}-{number:03d}.png"] = picture(found, number, names)
    if nifti or origin is not None:
        files[f"{stem}-labels.nii.gz"] = nifti_file(found.fused, origin)
        probability = np.moveaxis(found.probability, 1, -1).astype(np.float32)
        files[f"{stem}-probability.nii.gz"] = nifti_file(probability, origin)
        files[f"{stem}-entropy.nii.gz"] = nifti_file(found.entropy.astype(np.float32), origin)
    if isinstance(origin, DicomOrigin) and found.fused.any():
        made = segmentation_object(found.fused, names, origin, keep_identity)
        files[f"{stem}-segmentation.dcm"] = made
    try:
        for name, data in files.items():
            write_atomically(folder / name, data)
    except OSError as error:
        got = error.strerror or type(error).__name__
        raise InputError(
            str(folder), "a folder to write to", got, "choose another --out"
        ) from None
    return [folder / name for name in files]


def picture(found: Segments, number: int, names: tuple[str, ...]) -> bytes:
    """One slice: what was measured with every sample's outline, how likely each pixel is inside,
    and the entropy. PNG."""
    n_names = len(names)
    figure = Figure(figsize=(3.3 * (2 + n_names), 3.6), layout="constrained")
    axes = figure.subplots(1, 2 + n_names, squeeze=False)[0]
    axes[0].imshow(found.seen[number], cmap="gray", vmin=0, vmax=1)
    axes[0].set_title(f"{found.samples.shape[1]} samples", fontsize=9)
    for label in range(1, n_names + 1):
        colour = _COLOURS[(label - 1) % len(_COLOURS)]
        for sample in found.samples[number]:
            inside = (sample == label).astype(float)
            if inside.any() and not inside.all():
                axes[0].contour(inside, [0.5], colors=colour, linewidths=0.6, alpha=0.6)
        axes[label].imshow(found.probability[number, label - 1], cmap="viridis", vmin=0, vmax=1)
        axes[label].set_title(f"probability of {names[label - 1]}", fontsize=9)
    most = float(np.log(n_names + 1))
    axes[-1].imshow(found.entropy[number], cmap="magma", vmin=0, vmax=most)
    axes[-1].set_title(f"entropy, 0 to {most:.2f} nats", fontsize=9)
    for each in axes:
        each.set_axis_off()
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return stream.getvalue()


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()
