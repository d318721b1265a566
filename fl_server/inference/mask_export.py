"""Sampling masks as files: for a scanner, a spreadsheet and a reader."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

from fl_server.inference.trained_arm import TrainedArm
from infomri_core.inference.inference import sampling_ratio
from infomri_core.physics.entropy import redundancy
from infomri_core.randomness.seeds import torch_generator
from infomri_core.sampling import mask_sampler
from infomri_core.system.errors import InputError
from infomri_core.system.files import write_atomically
from infomri_core.system.progress import Progress, Step

VIEW_PIXELS = 512


@dataclass(frozen=True)
class MaskSet:
    """An arm's sampling probabilities (H, W) float32 at one acceleration, and masks (n, H, W)
    uint8 drawn from them, centred: zero frequency at (H // 2, W // 2)."""

    probabilities: np.ndarray
    masks: np.ndarray


@torch.no_grad()
def draw_mask_set(
    trained: TrainedArm, acceleration: float, count: int, seed: int, step: Step
) -> MaskSet:
    """Probabilities and ``count`` masks; a seed's first masks are the same whatever ``count``.
    ``step`` is called after each."""
    ratio = sampling_ratio(trained.plan, acceleration)
    generator = torch_generator(seed, "masks", trained.arm.name, acceleration)
    probabilities = mask_sampler(trained.model.sampler).at(ratio).probability
    masks = []
    for _ in range(count):
        masks.append(trained.model.draw(ratio, 1, generator).to(torch.uint8))
        step()
    return MaskSet(probabilities.float().numpy(), torch.cat(masks).numpy())


def export(
    trained: TrainedArm,
    acceleration: float,
    count: int,
    seed: int,
    folder: Path,
    progress: Progress,
) -> list[Path]:
    """Write probabilities and masks as .npy, .csv and .png, and a .json that describes them.

    Files are named after arm and acceleration, so several exports share a folder. Returns the
    paths. ``InputError`` when the folder cannot be written to.
    """
    with progress.phase("drawing", unit="masks", total=count) as step:
        made = draw_mask_set(trained, acceleration, count, seed, step)
    stem, written = f"{trained.arm.name}-{acceleration:g}x", list[Path]()
    written += _written(folder, _of_all(trained, acceleration, seed, made, stem))
    with progress.phase("writing", unit="masks", total=count) as step:
        for number, mask in enumerate(made.masks):
            written += _written(folder, _of_mask(mask, f"{stem}-mask-{number:03d}"))
            step()
    return written


def _of_all(
    trained: TrainedArm, acceleration: float, seed: int, made: MaskSet, stem: str
) -> dict[str, bytes]:
    title = f"{trained.arm.name}, acceleration {acceleration:g}: sampling probability"
    return {
        f"{stem}-probability.npy": _npy(made.probabilities),
        f"{stem}-probability.csv": _csv(made.probabilities, "%.6g"),
        f"{stem}-probability.png": probability_png(made.probabilities, title),
        f"{stem}.json": _json(_description(trained, acceleration, seed, made)),
    }


def _of_mask(mask: np.ndarray, name: str) -> dict[str, bytes]:
    return {
        f"{name}.npy": _npy(mask),
        f"{name}.csv": _csv(mask, "%d"),
        f"{name}.png": mask_png(mask),
    }


def _written(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    try:
        for name, data in files.items():
            write_atomically(folder / name, data)
    except OSError as error:
        got = error.strerror or type(error).__name__
        raise InputError(
            str(folder), "a folder to write to", got, "choose another --out"
        ) from None
    return [folder / name for name in files]


def mask_png(mask: np.ndarray) -> bytes:
    """A mask (H, W), sampled points white, each a square of whole pixels."""
    zoom = max(1, -(-VIEW_PIXELS // max(mask.shape)))
    pixels = np.kron((mask > 0).astype(np.uint8) * 255, np.ones((zoom, zoom), np.uint8))
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()


def probability_png(probabilities: np.ndarray, title: str) -> bytes:
    """Probabilities (H, W) in colour, from zero to their maximum, with frequencies on the axes."""
    h, w = probabilities.shape
    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    axes = figure.add_subplot()
    extent = (-(w // 2) - 0.5, w - w // 2 - 0.5, h - h // 2 - 0.5, -(h // 2) - 0.5)
    image = axes.imshow(
        probabilities, cmap="magma", vmin=0, extent=extent, interpolation="nearest"
    )
    axes.set_title(title, fontsize=9)
    axes.set_xlabel("$k_x$ (cycles per field of view)")
    axes.set_ylabel("$k_y$ (cycles per field of view)")
    figure.colorbar(image, ax=axes, shrink=0.85)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=120)
    return stream.getvalue()


def _description(
    trained: TrainedArm, acceleration: float, seed: int, made: MaskSet
) -> dict[str, object]:
    h, w = made.probabilities.shape
    return {
        "arm": trained.arm.name,
        "acceleration": acceleration,
        "ratio": 1 / acceleration,
        "constraint": trained.plan.constraint,
        "shape": [h, w],
        "zero_frequency": [h // 2, w // 2],
        "seed": seed,
        "points": [int(mask.sum()) for mask in made.masks],
        "redundancy": [round(float(r), 6) for r in redundancy(torch.from_numpy(made.masks))],
        "plan_sha256": trained.plan.digest,
        "round": trained.round,
    }


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def _csv(array: np.ndarray, form: str) -> bytes:
    stream = io.StringIO()
    np.savetxt(stream, array, fmt=form, delimiter=",")
    return stream.getvalue().encode()


def _json(value: dict[str, object]) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()
