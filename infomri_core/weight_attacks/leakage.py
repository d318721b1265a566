"""What an update says about its site without any image: labels, and which site it was."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from infomri_core.arms.sampled_model import SampledModel
from infomri_core.randomness.seeds import numpy_generator, torch_generator
from infomri_core.tasks.values import Classes
from infomri_core.weight_attacks.updates import Protection, Update, cosine, gradient

N_SITES = 4
N_UPDATES = 6


def infer_counts(update: Update, mean_probability: Tensor, n: int) -> Tensor:
    """How many of the n samples bear each label, (K,), from one gradient of their mean loss.

    The head's bias gradient is exactly mean(p - t) for softmax cross-entropy, and mean(p - t) / K
    for K independent labels (Zhao, Mopuri and Bilen 2020). t is what is left once the attacker
    puts the model's mean probabilities (K,) on public data in place of p; n known, t rounded.
    """
    bias = update[-1]
    return ((mean_probability - bias) * n).round().clamp(0, n)


def audit_labels(
    model: SampledModel,
    images: Tensor,
    labels: Tensor,
    patients: np.ndarray,
    ratio: float,
    batch_size: int,
    seed: int,
    protection: Protection | None = None,
    n_batches: int = 16,
) -> dict[str, Any]:
    """Error of the label counts read from gradients of batches of the audit set, against the
    error of answering with the public prevalence alone; presence as a share right.

    Half the patients are public to the attacker, the batches are drawn from the others.
    """
    public, private = _halves(patients, seed)
    if model.task.classes is None:
        return {"note": "this task has no labels to infer"}
    if not len(private):
        return {"note": "needs two patients"}
    generator = torch_generator(seed, "label-inference", device=images.device)
    order = numpy_generator(seed, "label-batches")
    size = min(batch_size, len(private))
    known = torch.from_numpy(public)
    expected = _probabilities(model, images[known], ratio, generator).mean(0)
    prevalence = labels[known].mean(0)
    errors, blind, present, present_blind = [], [], [], []
    for _ in range(n_batches):
        rows = torch.from_numpy(order.choice(private, size, replace=False))
        y = _measured(model, images[rows], ratio, generator)
        update = gradient(model, y, labels[rows], protection, generator)
        found = infer_counts(_scaled(update, model.task.classes), expected, size)
        truth, guess = labels[rows].sum(0), (prevalence * size).round()
        errors.append((found - truth).abs().mean() / size)
        blind.append((guess - truth).abs().mean() / size)
        present.append(((found > 0) == (truth > 0)).float().mean())
        present_blind.append(((guess > 0) == (truth > 0)).float().mean())
    means = [float(torch.stack(v).mean()) for v in (errors, blind, present, present_blind)]
    return {
        "batch_size": size,
        "proportion_error": means[0],
        "proportion_error_without_update": means[1],
        "presence_right": means[2],
        "presence_right_without_update": means[3],
    }


def audit_sites(
    model: SampledModel,
    images: Tensor,
    targets: Tensor,
    patients: np.ndarray,
    ratio: float,
    batch_size: int,
    seed: int,
    protection: Protection | None = None,
    n_sites: int = N_SITES,
) -> dict[str, Any]:
    """Which simulated site sent an update: nearest centroid by cosine, against chance.

    Patients are dealt to sites by case mix (sorted by their targets, noisily). The attacker's
    centroids come from half of each site's patients, the updates to be named from the others.
    """
    sites = deal_sites(
        targets.flatten(1).cpu().numpy(), patients, n_sites, numpy_generator(seed, "sites")
    )
    halves = [_halves(patients[rows], seed) for rows in sites]
    if len(sites) < 2 or any(len(b) == 0 for _, b in halves):
        return {"note": f"needs 2 patients for each of {n_sites} sites"}
    generator = torch_generator(seed, "site-inference", device=images.device)
    order = numpy_generator(seed, "site-batches")

    def update(rows: np.ndarray) -> Update:
        size = min(batch_size, len(rows))
        chosen = torch.from_numpy(order.choice(rows, size, replace=False))
        y = _measured(model, images[chosen], ratio, generator)
        return gradient(model, y, targets[chosen], protection, generator)

    centroids = [
        _mean([update(r[a]) for _ in range(N_UPDATES)]) for r, (a, _) in zip(sites, halves)
    ]
    common = _mean(centroids)
    right = 0
    for k, (rows, (_, b)) in enumerate(zip(sites, halves)):
        for _ in range(N_UPDATES):
            sent = _minus(update(rows[b]), common)
            near = [float(cosine(sent, _minus(c, common))) for c in centroids]
            right += int(np.argmax(near)) == k
    n = len(sites) * N_UPDATES
    return {
        "accuracy": right / n,
        "chance": 1 / len(sites),
        "sites": len(sites),
        "updates": n,
        "batch_size": batch_size,
    }


def deal_sites(
    targets: np.ndarray, patients: np.ndarray, n_sites: int, generator: np.random.Generator
) -> list[np.ndarray]:
    """Rows of each simulated site; sites differ in case mix, no patient is in two."""
    names = np.unique(patients)
    mix = np.array([targets[patients == name].mean() for name in names])
    order = names[np.argsort(mix + 0.05 * generator.random(len(names)))]
    return [np.flatnonzero(np.isin(patients, part)) for part in np.array_split(order, n_sites)]


def _scaled(update: Update, classes: Classes) -> Update:
    return update if classes.exclusive else (*update[:-1], update[-1] * len(classes.names))


@torch.no_grad()
def _measured(
    model: SampledModel, images: Tensor, ratio: float, generator: torch.Generator
) -> Tensor:
    return model.acquire(images, ratio, generator).y


@torch.no_grad()
def _probabilities(
    model: SampledModel, images: Tensor, ratio: float, generator: torch.Generator
) -> Tensor:
    return model.task.answers(model.output(_measured(model, images, ratio, generator)))


def _halves(patients: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    names = numpy_generator(seed, "halves").permutation(np.unique(patients))
    first = np.isin(patients, names[: max(1, len(names) // 2)])
    return np.flatnonzero(first), np.flatnonzero(~first)


def _mean(updates: list[Update]) -> Update:
    return tuple(torch.stack(parts).mean(0) for parts in zip(*updates))


def _minus(a: Update, b: Update) -> Update:
    return tuple(x - y for x, y in zip(a, b))
