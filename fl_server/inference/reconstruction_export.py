"""Reconstructions as files: arrays for programs, pictures for people, a table of both."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from fl_server.inference.trained_arm import TrainedArm
from fl_server.inference.volumes.dicom import secondary_captures
from fl_server.inference.volumes.nifti import nifti_file
from infomri_core.inference.inference import sampling_ratio
from infomri_core.inference.origin import DicomOrigin
from infomri_core.inference.reconstruct import Rebuilt, rebuild
from infomri_core.inference.scans import Scan
from infomri_core.randomness.seeds import torch_generator
from infomri_core.system.errors import InputError
from infomri_core.system.files import write_atomically
from infomri_core.system.progress import Step

COLUMNS = ("input", "slice", "psnr", "expected_psnr", "arm", "acceleration", "points")
_PARTS = ("mean", "deviation")
_SERIES = {"mean": "InfoMRI reconstruction", "deviation": "InfoMRI standard deviation"}


def names_of(inputs: list[str]) -> list[str]:
    """A name for the files of each input, all different, of plain letters."""
    names: list[str] = []
    for text in inputs:
        stem = Path(text).stem if Path(text).exists() else text
        name = plain = re.sub(r"[^\w.-]+", "-", stem).strip("-.")[:60] or "scan"
        number = 1
        while name in names:
            number += 1
            name = f"{plain}-{number}"
        names.append(name)
    return names


def reconstruct_scan(
    trained: TrainedArm, scan: Scan, acceleration: float, seed: int
) -> Iterator[Rebuilt]:
    """Batches of slices in order. The random numbers follow from ``seed``, arm and acceleration
    alone, so a scan's images do not depend on what else is rebuilt beside it."""
    ratio = sampling_ratio(trained.plan, acceleration)
    generator = torch_generator(seed, "reconstruct", trained.arm.name, acceleration)
    device = next(trained.model.network.parameters()).device
    for batch in scan.batches():
        yield rebuild(trained.model, batch.to(device), ratio, generator, scan.is_kspace)


def export(
    trained: TrainedArm,
    scan: Scan,
    name: str,
    acceleration: float,
    seed: int,
    folder: Path,
    step: Step,
    keep_identity: bool = False,
) -> list[list[str]]:
    """Write ``NAME-mean.npy`` and ``NAME-deviation.npy`` (n, H, W), of each slice the two as .png
    and a picture beside the truth; returns the table's rows. ``step`` is called after each slice.
    Of a scan with an origin both as .nii.gz on its grid, too, and as DICOM if it was.

    Grey values of the mean are [0, 1]; a deviation's white is its slice's largest value, which the
    picture's scale has. ``InputError`` when the folder cannot be written to.
    """
    kept: dict[str, list[np.ndarray]] = {part: [] for part in _PARTS}
    rows: list[list[str]] = []
    for found in reconstruct_scan(trained, scan, acceleration, seed):
        for part in _PARTS:
            kept[part].append(getattr(found, part))
        for k in range(len(found.mean)):
            number = len(rows)
            stem = f"{name}-{number:03d}"
            deviation = found.deviation[k]
            _write(folder / f"{stem}-mean.png", _grey(found.mean[k]))
            _write(folder / f"{stem}-deviation.png", _grey(deviation / deviation.max()))
            _write(folder / f"{stem}-picture.png", picture(found, k, f"{name}, slice {number}"))
            figures = [f"{found.psnr[k]:.4g}", f"{found.expected[k]:.4g}"]
            dose = [f"{acceleration:g}", str(int(found.mask[k].sum()))]
            rows.append([scan.name, str(number), *figures, trained.arm.name, *dose])
            step()
    whole = {part: np.concatenate(kept[part]) for part in _PARTS}
    for part, slices in whole.items():
        _write(folder / f"{name}-{part}.npy", _npy(slices))
        if scan.origin is not None:
            file = nifti_file(slices.astype(np.float32), scan.origin)
            _write(folder / f"{name}-{part}.nii.gz", file)
    if isinstance(scan.origin, DicomOrigin):
        made = secondary_captures(
            {_SERIES[part]: slices for part, slices in whole.items()}, scan.origin, keep_identity
        )
        for part in _PARTS:
            for number, content in enumerate(made[_SERIES[part]]):
                _write(folder / f"{name}-dicom" / f"{part}-{number:03d}.dcm", content)
    return rows


def to_csv(rows: list[list[str]]) -> str:
    """The table as CSV text, header first."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    return text.getvalue()


def picture(found: Rebuilt, k: int, title: str) -> bytes:
    """Slice ``k`` as a .png: the truth, the mask, the zero-filled image, and below the mean, its
    error and the predicted deviation, both on one scale."""
    error = np.abs(found.mean[k] - found.truth[k])
    most = max(float(error.max()), float(found.deviation[k].max()), 1e-6)
    grey, scaled = {"cmap": "gray", "vmin": 0, "vmax": 1}, {"cmap": "magma", "vmin": 0}
    panels = (
        ("truth (all of k-space)", found.truth[k], grey),
        ("measured points of k-space", found.mask[k], grey),
        ("zero-filled", found.zero_filled[k], grey),
        (f"reconstruction, {found.psnr[k]:.1f} dB", found.mean[k], grey),
        ("|error|", error, scaled | {"vmax": most}),
        ("predicted standard deviation", found.deviation[k], scaled | {"vmax": most}),
    )
    figure = Figure(figsize=(9, 6.4), layout="constrained")
    for axes, (text, image, style) in zip(figure.subplots(2, 3).flat, panels):
        shown = axes.imshow(image, **style)
        axes.set_title(text, fontsize=9)
        axes.set_axis_off()
        if style["cmap"] == "magma":
            figure.colorbar(shown, ax=axes, fraction=0.046)
    figure.suptitle(title, fontsize=10)
    made = io.BytesIO()
    figure.savefig(made, format="png", dpi=120)
    return made.getvalue()


def _grey(image: np.ndarray) -> bytes:
    made = io.BytesIO()
    values = (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
    Image.fromarray(values).save(made, format="png")
    return made.getvalue()


def _npy(array: np.ndarray) -> bytes:
    made = io.BytesIO()
    np.save(made, array.astype(np.float32))
    return made.getvalue()


def _write(path: Path, content: bytes) -> None:
    try:
        write_atomically(path, content)
    except OSError as error:
        got = error.strerror or type(error).__name__
        raise InputError(str(path), "a file to write", got, "choose another --out") from None
