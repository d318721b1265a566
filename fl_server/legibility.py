"""Can a lesion still be seen in what an attack rebuilds? A reader of full images is asked."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from infomri_core.data import SliceDataset
from infomri_core.evaluate import attacked_rows
from infomri_core.frontier import Row
from infomri_core.metrics import ScoreHistogram
from infomri_core.plan import Arm, Plan
from infomri_core.privacy.adversaries import Adversaries
from infomri_core.privacy.attacks import FLOORS
from infomri_core.seeds import torch_generator
from infomri_core.tasks.classification import Classification, build_model
from infomri_core.train import Stretch, train_steps

FULL_IMAGE = "full image"
READER_STEPS = 150
_BATCH = 64


def train_reader(
    plan: Plan, dataset: SliceDataset, n_steps: int, device: torch.device
) -> Classification:
    """The plan's classifier, trained on fully sampled images of ``dataset``."""
    full = replace(plan.measurement, ratio_range=(1.0, 1.0))
    taught = replace(plan, measurement=full, arms=(Arm("uniform"),))
    reader = build_model(taught, taught.arms[0]).to(device)
    images = dataset.images(np.arange(len(dataset))).to(device)
    labels = torch.from_numpy(dataset.table.labels.astype(np.float32)).to(device)
    train_steps(
        reader,
        taught,
        0.0,
        torch.ones(2, *plan.task.shape, device=device),
        len(dataset),
        lambda rows: (images[rows], labels[rows]),
        Stretch(0, n_steps, n_steps, (plan.study.seed, "reader")),
    )
    return reader.eval()


@torch.no_grad()
def read(reader: Classification, images: torch.Tensor) -> torch.Tensor:
    """Logits (B, K) of the reader for images (B, H, W)."""
    logits: torch.Tensor = reader.network(torch.stack((images, torch.zeros_like(images)), dim=1))
    return logits


@torch.no_grad()
def legibility(
    plan: Plan,
    reader: Classification,
    models: Mapping[str, Classification],
    adversaries: Adversaries,
    dataset: SliceDataset,
    device: torch.device,
) -> dict[tuple[str, float], dict[str, float]]:
    """For each arm and acceleration, the reader's mean AUROC on each attack's images, and on the
    true ones as 'full image'; without figures where the labels leave none defined."""
    rows = attacked_rows(dataset.table.patients, plan.evaluation.attack_slices)
    labels = dataset.table.labels[rows].astype(np.int64)
    found = {}
    for arm, model in models.items():
        for acceleration in plan.measurement.accelerations:
            cell = (arm, acceleration)
            generator = torch_generator(plan.study.seed, "legibility", *cell, device=device)
            logits: dict[str, list[torch.Tensor]] = {}
            for start in range(0, len(rows), _BATCH):
                truth = dataset.images(rows[start : start + _BATCH]).to(device)
                masks = model.draw(1 / acceleration, len(truth), generator)
                y = model.measure(truth, masks, generator)
                rebuilt = adversaries.reconstruct(cell, y, masks, model.logits(y))
                for name, images in {FULL_IMAGE: truth, **rebuilt}.items():
                    if name not in FLOORS:
                        logits.setdefault(name, []).append(read(reader, images).cpu())
            found[cell] = _aurocs(logits, labels, plan.task.exclusive)
    return found


def with_legibility(
    rows: Sequence[Row], found: Mapping[tuple[str, float], Mapping[str, float]]
) -> list[Row]:
    """The rows with what was found for their arm and acceleration."""
    return [replace(row, legibility=found.get((row.arm, row.acceleration), {})) for row in rows]


def _aurocs(
    logits: Mapping[str, Sequence[torch.Tensor]], labels: np.ndarray, exclusive: bool
) -> dict[str, float]:
    once = np.ones((1, len(labels)), dtype=np.int64)
    found = {}
    for name, parts in logits.items():
        scores = torch.cat(list(parts)).double().numpy()
        histogram = ScoreHistogram.from_scores(scores, labels, once, exclusive)
        auroc, _, _ = histogram.auroc_interval()
        if auroc is not None:
            found[name] = auroc
    return found
