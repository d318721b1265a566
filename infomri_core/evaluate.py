"""Scoring one arm at one acceleration: how well it diagnoses, and what attackers rebuild."""

from collections.abc import Callable

import numpy as np
import torch

from infomri_core.data.base import SliceTable
from infomri_core.errors import Cancelled
from infomri_core.exchange import Scores
from infomri_core.images import image_metrics
from infomri_core.metrics import ImageQuality, ScoreHistogram
from infomri_core.plan import Arm, Plan
from infomri_core.privacy.adversaries import Adversaries
from infomri_core.privacy.linkage import Gallery, link
from infomri_core.privacy.worst_patient import WorstPatients
from infomri_core.seeds import torch_generator
from infomri_core.tasks.classification import Classification

BATCH = 64


@torch.no_grad()
def evaluate_arm(
    model: Classification,
    plan: Plan,
    arm: Arm,
    acceleration: float,
    table: SliceTable,
    fetch: Callable[[np.ndarray], torch.Tensor],
    adversaries: Adversaries,
    weights: np.ndarray,
    stream: tuple[str | int, ...],
    cancelled: Callable[[], bool] = lambda: False,
    worst: WorstPatients | None = None,
) -> Scores:
    """Histogram of scores over all rows of ``table``, and the quality of each attack's images
    over at most ``attack_slices`` rows a patient.

    ``fetch`` gives images (k, H, W) for row numbers, ``weights`` (R + 1, n) are the bootstrap's.
    Each slice is measured once, with a mask and noise of its own; attacks see the very
    measurement that the classifier saw, and so does who holds candidate scans. ``worst`` takes
    what must not be in the scores: single patients' figures.
    """
    model.eval()
    gallery = Gallery.of(table.patients)
    matched: list[tuple[torch.Tensor, torch.Tensor]] = []
    attacked = attacked_rows(table.patients, plan.evaluation.attack_slices)
    generator: torch.Generator | None = None
    all_logits: list[torch.Tensor] = []
    quality: dict[str, list[torch.Tensor]] = {}
    for start in range(0, len(table), BATCH):
        if cancelled():
            raise Cancelled
        rows = np.arange(start, min(start + BATCH, len(table)))
        images = fetch(rows)
        if generator is None:
            generator = torch_generator(
                *stream, "evaluate", arm.seed, acceleration, device=images.device
            )
        masks = model.draw(1 / acceleration, len(rows), generator)
        measurement = model.measure(images, masks, generator)
        logits = model.logits(measurement)
        all_logits.append(logits.cpu())
        linked = torch.from_numpy(np.isin(rows, gallery.measured)).to(images.device)
        matched.append((measurement[linked], masks[linked]))
        chosen = torch.from_numpy(np.isin(rows, attacked)).to(images.device)
        if not chosen.any():
            continue
        rebuilt = adversaries.reconstruct(
            (arm.name, acceleration), measurement[chosen], masks[chosen], logits[chosen]
        )
        for name, output in rebuilt.items():
            quality.setdefault(name, []).append(image_metrics(output, images[chosen]).cpu())
    labels = table.labels.astype(np.int64)
    histogram = ScoreHistogram.from_scores(
        _stack(all_logits, labels.shape[1]), labels, weights, plan.task.exclusive
    )
    linkage = None
    if adversaries.likeness is not None and matched:
        y, m = (torch.cat(parts) for parts in zip(*matched))
        linkage = link(
            *(y, m, gallery, fetch, model.noise_std, adversaries.likeness),
            weights[:, gallery.measured],
        )
    per_image = {name: _stack(parts, 4) for name, parts in quality.items()}
    if worst is not None:
        worst.add((arm.name, acceleration), table.patients[attacked], per_image)
    return Scores(
        histogram,
        {
            name: ImageQuality.from_images(values, weights[:, attacked])
            for name, values in per_image.items()
        },
        linkage,
    )


def attacked_rows(patients: np.ndarray, n_slices: int) -> np.ndarray:
    """Row numbers, ascending, of at most ``n_slices`` evenly spaced slices of each patient."""
    chosen = []
    for patient in np.unique(patients):
        rows = np.flatnonzero(patients == patient)
        spread = np.linspace(0, len(rows) - 1, min(n_slices, len(rows))).round().astype(int)
        chosen.append(rows[np.unique(spread)])
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, np.int64)


def _stack(parts: list[torch.Tensor], n_columns: int) -> np.ndarray:
    if not parts:
        return np.zeros((0, n_columns))
    return torch.cat(parts).double().numpy()
