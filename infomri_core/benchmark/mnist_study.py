"""One arm of InfoMRI's Table 4: trained centrally by the one training loop, its accuracy, and what
attackers rebuild from what it measures."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import tomli_w
import torch
from torch import Tensor
from torch.nn import functional

from infomri_core.arms.build import build_model
from infomri_core.arms.sampled_model import SampledModel
from infomri_core.attacks.audit_set import AuditSet
from infomri_core.attacks.floors.diagnosis import fit_together
from infomri_core.attacks.registry import FLOORS, build
from infomri_core.benchmark.benchmark import Figures
from infomri_core.data.base import SliceDataset
from infomri_core.fitting.loop import Stretch, descend, finite
from infomri_core.models.cnn import PrintedCNN
from infomri_core.physics.images import psnr
from infomri_core.physics.kspace import fft2c, zero_fill
from infomri_core.physics.statistics import KSpaceMoments
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from infomri_core.randomness.seeds import derive_seed, numpy_generator, torch_generator
from infomri_core.suppression.registry import build_suppression
from infomri_core.tasks.classification import Classification
from infomri_core.training.fit import train_steps

ACCELERATIONS = (32.0, 48.0)
PRINTED, STRONG = "printed", ("lmmse", "unet")
_PARTS, _N_TEST, _BATCH = 12, 5000, 256
_CONSTANT = 10**9
"""A schedule so long that its rate does not change over the steps taken at its top."""
_EVERY, _PATIENCE, _PRINTED_RATE = 50, 4, 1e-4


@final
@dataclass(frozen=True)
class Schedule:
    """Optimizer steps and batch of the arm, its width and rate; most steps of the printed attacker
    and of the U-Net; images of each other part, and those on which attackers are scored."""

    steps: int
    batch: int
    width: int
    rate: float
    printed_steps: int
    unet_steps: int
    n_images: int
    n_scored: int


@final
@dataclass(frozen=True)
class Digits:
    """Rows of a data set: ten twelfths of its training part train an arm, one twelfth attackers,
    and one chooses beta and ends attackers' training; 5,000 of the
    test part are scored."""

    dataset: SliceDataset
    train: np.ndarray
    audit: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    @classmethod
    def of(cls, dataset: SliceDataset) -> "Digits":
        generator = numpy_generator("table 4", "split")
        known = generator.permutation(np.flatnonzero(dataset.table.split == "train"))
        test = generator.permutation(np.flatnonzero(dataset.table.split == "val"))
        n = len(known) // _PARTS
        train, audit, validation = np.split(known, [len(known) - 2 * n, len(known) - n])
        return cls(dataset, train, audit, validation, test[:_N_TEST])


def plan_of(digits: Digits, arm: Mapping[str, Any], schedule: Schedule, seed: int) -> Plan:
    """What a study of this arm would be: the paper's noise, ResNet18 with BatchNorm, and a start
    at random."""
    fastest, slowest = max(ACCELERATIONS), min(ACCELERATIONS)
    training = {"rounds": 1, "local_steps": schedule.steps, "batch_size": schedule.batch}
    table = {
        "study": {"name": "benchmark", "seed": seed},
        "task": Classification.example(digits.dataset),
        "measurement": {
            "noise_std": 0.05,
            "ratio_range": [1 / fastest, 1 / slowest],
            "accelerations": list(ACCELERATIONS),
        },
        "model": {"width": schedule.width, "norm": "batch", "start": "random"},
        "training": {**training, "learning_rate": schedule.rate},
        "evaluation": {"attacks": ["lmmse"]},
        "arms": [dict(arm)],
    }
    return parse_plan(tomli_w.dumps(table))


def trained(digits: Digits, plan: Plan, device: str) -> SampledModel:
    """The plan's one arm after its schedule; everything random follows from the seed."""
    dataset, (arm,) = digits.dataset, plan.arms
    some = dataset.images(digits.audit)
    variance = KSpaceMoments.from_kspace(fft2c(some)).variance.float().to(device)
    noise_std = plan.measurement.noise_std
    suppression = build_suppression(arm.suppression, variance, None, noise_std)
    model = build_model(plan, arm, variance.cpu()).to(device)

    def fetch(batch: np.ndarray) -> tuple[Tensor, Tensor]:
        rows = digits.train[batch]
        return dataset.images(rows).to(device), plan.task.targets(dataset, rows).to(device)

    steps = plan.training.local_steps
    stretch = Stretch(0, steps, steps, (plan.study.seed, "benchmark"))
    train_steps(model, plan, arm.beta, suppression, len(digits.train), fetch, stretch)
    return model.requires_grad_(False).eval()


@torch.no_grad()
def answered(
    model: SampledModel, images: Tensor, acceleration: float, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (n, 10), y and masks (n, H, W) of ``images``."""
    found = []
    for part in images.split(_BATCH):
        seen = model.acquire(part, 1 / acceleration, generator)
        found.append((model.output(seen.y, seen.mask), seen.y, seen.mask))
    logits, y, masks = (torch.cat(parts) for parts in zip(*found))
    return logits, y, masks


def scored(
    digits: Digits, plan: Plan, model: SampledModel, schedule: Schedule, device: str
) -> Figures:
    """Figures by ``acceleration | measure``: accuracy on test and validation images, PSNR in dB of
    each attacker and of both floors."""
    dataset, seed = digits.dataset, plan.study.seed
    stream = functools.partial(torch_generator, seed, "table 4", device=device)
    images = {
        name: dataset.images(getattr(digits, name)[: schedule.n_images]).to(device)
        for name in ("audit", "validation", "test")
    }
    n, ratios = schedule.n_scored, [1 / a for a in ACCELERATIONS]
    attacks = {}
    for name in STRONG:
        options = {"n_steps": schedule.unet_steps, "width": 16} if name == "unet" else {}
        given = (images["audit"], model.sampler, ratios, model.noise_std, stream("fit", name))
        attacks[name] = build(name, dataset.shape, **options).to(device).fit(AuditSet.of(*given))
    figures = {"validation images": float(len(images["validation"]))}
    for acceleration in ACCELERATIONS:
        found: dict[str, float] = {}
        logits = {
            name: answered(model, images[name], acceleration, stream(name, acceleration))
            for name in images
        }
        for name in ("validation", "test"):
            rows = getattr(digits, name)[: schedule.n_images]
            truth = plan.task.targets(dataset, rows).argmax(1).to(device)
            right = logits[name][0].argmax(1) == truth
            found[f"accuracy, {name}"] = float(right.float().mean())
        answer, y, masks = (part[:n] for part in logits["test"])
        rebuilt = {name: attack.reconstruct(y, masks) for name, attack in attacks.items()}
        printed = fit_printed(
            model, images["audit"], images["validation"], acceleration, schedule, seed
        )
        with torch.no_grad():
            rebuilt[PRINTED] = printed(_seen(y))[:, 0]
        for name in FLOORS:
            given = (images["audit"], model.sampler, ratios, model.noise_std, stream("floor"))
            floor = build(name, dataset.shape).to(device).fit(AuditSet.of(*given))
            rebuilt[name] = floor.reconstruct(y, masks)
        told = fit_together(images["audit"], {acceleration: logits["audit"][0]})[acceleration]
        rebuilt["diagnosis"] = told.reconstruct_from(answer)
        for name, given_images in rebuilt.items():
            error = psnr(given_images.clamp(0, 1), images["test"][:n])
            found[name] = float(error.mean())
        figures |= {f"{acceleration:g}x | {name}": value for name, value in found.items()}
    return figures


def fit_printed(
    model: SampledModel,
    audit: Tensor,
    validation: Tensor,
    acceleration: float,
    schedule: Schedule,
    seed: int,
) -> PrintedCNN:
    """The printed attacker at one acceleration: Adam at 1e-4, batches of 64 with masks and noise
    of their own, until its error on validation images stops falling; the best state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "printed", acceleration))
        network = PrintedCNN().to(audit.device)
    generator = torch_generator(seed, "printed", acceleration, device=audit.device)
    held = validation[: schedule.n_scored]
    seen = _seen(answered(model, held, acceleration, generator)[1])
    optimizer = torch.optim.Adam(network.parameters(), lr=_PRINTED_RATE)

    def gradient(step: int) -> None:
        rows = torch.randint(len(audit), (64,), generator=generator, device=audit.device)
        with torch.no_grad():
            y = model.acquire(audit[rows], 1 / acceleration, generator).y
        finite(functional.mse_loss(network(_seen(y))[:, 0], audit[rows])).backward()

    best, state, waited = float("inf"), network.state_dict(), 0
    whole = Stretch(_CONSTANT // 10, schedule.printed_steps, _CONSTANT)
    for step, _ in descend(optimizer, whole, gradient):
        if (step + 1) % _EVERY:
            continue
        with torch.no_grad():
            error = float(functional.mse_loss(network(seen)[:, 0], held))
        waited = 0 if error < best else waited + 1
        if error < best:
            best, state = error, {k: v.clone() for k, v in network.state_dict().items()}
        if waited >= _PATIENCE:
            break
    network.load_state_dict(state)
    return network


def _seen(measurement: Tensor) -> Tensor:
    return torch.view_as_real(zero_fill(measurement)).movedim(-1, 1)
