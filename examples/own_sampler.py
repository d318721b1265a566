"""A sampling policy of your own, trained and audited on phantoms in under a minute.

    python examples/own_sampler.py
    python examples/own_sampler.py --steps 400 --beta 0.003

The policy learns one number for each ring around the centre of k-space. It is trained as the
platform trains its own (cross-entropy + beta x marginal entropy), beside two fixed policies, and
each is attacked by LMMSE, the audit's closed-form reference. So short a training hardly diagnoses:
what can be seen here is that the parts fit. Give it more steps, patients and pixels to compare.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor, nn

from infomri_core.arms.sampled_model import SampledModel
from infomri_core.attacks.audit_set import AuditSet
from infomri_core.attacks.base import Attack
from infomri_core.attacks.registry import build
from infomri_core.data import SliceDataset, open_dataset
from infomri_core.fitting.loop import Stretch
from infomri_core.physics.images import psnr
from infomri_core.physics.kspace import fft2c
from infomri_core.physics.statistics import KSpaceMoments
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from infomri_core.randomness.seeds import torch_generator
from infomri_core.sampling import Amortised, SamplingPolicy, UniformPolicy, VariableDensityPolicy
from infomri_core.sampling.samplers.variable_density import relative_distance
from infomri_core.summaries.groups import partition
from infomri_core.summaries.metrics import ScoreHistogram
from infomri_core.suppression.marginal import MarginalEntropy
from infomri_core.training.fit import train_steps

RATIO = 1 / 8
SITE = "phantom:?hospital=north&size={size}&patients={patients}&slices=4&seed=1"
AUDIT = "phantom:?hospital=centre&size={size}&patients={patients}&slices=4&seed=2"
PLAN = """
[study]
name = "own-sampler"
[task]
labels = ["tear", "oedema", "texture"]
shape = [{size}, {size}]
[measurement]
noise_std = 0.02
ratio_range = [0.06, 0.25]
accelerations = [8.0]
[model]
width = 8
[training]
rounds = 1
local_steps = {steps}
batch_size = 16
[[arms]]
sampler = "uniform"
"""


@final
class RingPolicy(SamplingPolicy):
    """One learned probability for each ring of k-space around the zero frequency."""

    def __init__(self, shape: tuple[int, int], n_rings: int = 16) -> None:
        super().__init__(shape)
        ring = (relative_distance(self.grid) * (n_rings - 1)).round().long()
        self.register_buffer("ring", ring, persistent=False)
        self.logits = nn.Parameter(torch.linspace(2.0, -4.0, n_rings))

    def density(self, ratio: float) -> Tensor:
        """The ring's probability at each point; the base class brings the mean to ``ratio``."""
        return self.logits.sigmoid()[self.get_buffer("ring")]


@dataclass(frozen=True)
class Outcome:
    """Mean AUROC with its 95 % interval; PSNR (dB) of LMMSE, and of the mean image."""

    auroc: float | None
    low: float | None
    high: float | None
    psnr: float
    floor: float


def train(policy: SamplingPolicy, plan: Plan, beta: float, data: SliceDataset) -> SampledModel:
    """A classifier trained together with ``policy`` on the training patients of ``data``."""
    patients = data.where(data.table.split == "train")
    images = patients.images(range(len(patients)))
    labels = plan.task.targets(patients, np.arange(len(patients)))
    variance = KSpaceMoments.from_kspace(fft2c(images)).variance
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = plan.task.network(plan.model)
    noise_std = plan.measurement.noise_std
    model = SampledModel(plan.task, Amortised(policy), network, noise_std)

    def fetch(rows: np.ndarray) -> tuple[Tensor, Tensor]:
        return images[rows], labels[rows]

    stretch = Stretch(0, plan.training.local_steps, plan.total_steps, ("example",))
    penalty = MarginalEntropy(variance, noise_std)
    train_steps(model, plan, beta, penalty, len(images), fetch, stretch)
    return model.eval()


@torch.no_grad()
def audit(model: SampledModel, data: SliceDataset, own: SliceDataset) -> Outcome:
    """Score diagnosis and attack on the validation patients of ``data``, on one measurement.

    ``own`` are patients of the attacker's: anyone who audits must not train attackers on the very
    patients that are attacked.
    """
    held = data.where(data.table.split == "val")
    truth = held.images(range(len(held)))
    generator = torch_generator("example", "audit")
    found = model.acquire(truth, RATIO, generator)
    slots = partition(held.table.patients, "example")
    histogram = ScoreHistogram.from_scores(
        model.output(found.y).numpy(), held.table.labels, slots, held.table.exclusive
    )
    fitted = {name: fit(name, model, own) for name in ("lmmse", "mean")}
    quality = {
        name: float(psnr(attack.reconstruct(found.y, found.mask), truth).mean())
        for name, attack in fitted.items()
    }
    auroc = histogram.auroc_estimate()
    return Outcome(auroc.value, auroc.low, auroc.high, quality["lmmse"], quality["mean"])


def fit(name: str, model: SampledModel, own: SliceDataset) -> Attack:
    """The registered attack ``name``, fitted on ``own`` against the policy of ``model``."""
    attack = build(name, own.shape)
    images = own.images(range(len(own)))
    generator = torch_generator("example", "fit")
    patients = own.table.patients
    return attack.fit(
        AuditSet.of(images, model.sampler, [RATIO], model.noise_std, generator, patients)
    )


def main(arguments: Sequence[str] | None = None) -> dict[str, Outcome]:
    """Train and audit three policies; print and return what came of them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=100, help="optimizer steps of each policy")
    parser.add_argument("--size", type=int, default=32, help="pixels of a side")
    parser.add_argument("--patients", type=int, default=40, help="of the site and of the audit")
    parser.add_argument("--beta", type=float, default=1e-3, help="suppression of the ring policy")
    chosen = parser.parse_args(arguments)
    shape = (chosen.size, chosen.size)
    plan = parse_plan(PLAN.format(size=chosen.size, steps=chosen.steps))
    site, own = (
        open_dataset(uri.format(size=chosen.size, patients=chosen.patients))
        for uri in (SITE, AUDIT)
    )
    policies: dict[str, tuple[SamplingPolicy, float]] = {
        "rings": (RingPolicy(shape), chosen.beta),
        "uniform": (UniformPolicy(shape), 0.0),
        "variable density": (VariableDensityPolicy(shape), 0.0),
    }
    outcomes = {
        name: audit(train(policy, plan, beta, site), site, own)
        for name, (policy, beta) in policies.items()
    }
    for name, found in outcomes.items():
        print(f"{name:18} at {1 / RATIO:g}x  {in_words(found)}")
    return outcomes


def in_words(found: Outcome) -> str:
    """AUROC with its interval, and what the attack gets, in one line."""
    auroc = "AUROC undefined" if found.auroc is None else f"AUROC {found.auroc:.2f}"
    if found.low is not None:
        auroc += f" ({found.low:.2f}-{found.high:.2f})"
    return f"{auroc}  LMMSE {found.psnr:.1f} dB, without a measurement {found.floor:.1f} dB"


if __name__ == "__main__":
    main()
