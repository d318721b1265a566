"""A training step beside a bare step of its network, the suppressions, and DP-SGD."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tomli_w
import torch
from torch.nn import functional

from benchmarks.bench.timing import in_turns
from infomri_core.arms.build import build_model
from infomri_core.dp.dp import PrivateGradients
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from infomri_core.randomness.secret_stream import SecretStream
from infomri_core.suppression.base import Penalty
from infomri_core.suppression.factors import audit_factors
from infomri_core.suppression.registry import SUPPRESSIONS, build_suppression
from infomri_core.training.fit import Gradients, make_optimizer, plain_gradients

BETA = 1e-4
N_IMAGES = 64
MARGINAL = "marginal"
RATIO = 0.06


@dataclass(frozen=True)
class StudyContext:
    """One size of the problem, and the ratio that is aimed at."""

    size: int
    batch: int
    width: int
    goal: float


SETTINGS = (
    StudyContext(64, 32, 16, 1.10),
    StudyContext(128, 16, 16, 1.10),
    StudyContext(128, 16, 64, 1.03),
    StudyContext(320, 4, 16, 1.15),
)


def make_plan(setting: StudyContext) -> Plan:
    """One learned arm; every unit takes part in each step of DP-SGD."""
    return parse_plan(
        tomli_w.dumps(
            {
                "study": {"name": "bench"},
                "task": {"labels": ["tear", "oedema"], "shape": [setting.size, setting.size]},
                "model": {"width": setting.width},
                "training": {"batch_size": setting.batch},
                "arms": [{"sampler": "infomri", "suppression": "marginal", "beta": BETA}],
                "privacy": {
                    "noise_multiplier": 1.0,
                    "rate": 1.0,
                    "lot": setting.batch,
                    "unit": "slice",
                },
            }
        )
    )


def measure(setting: StudyContext, n_times: int) -> dict[str, float]:
    """Milliseconds of each kind of step, and the ratios to the bare network's."""
    plan, generator = make_plan(setting), torch.Generator().manual_seed(1)
    shape = (N_IMAGES, setting.size, setting.size)
    images, labels = torch.rand(shape, generator=generator), torch.zeros(N_IMAGES, 2)
    labels[::2, 0] = 1
    variance = torch.rand(2, *shape[1:], generator=generator) + 0.01

    def fetch(rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        index = torch.from_numpy(rows)
        return images[index], labels[index]

    noise_std = plan.measurement.noise_std
    factors = audit_factors(images)
    kinds = {k: build_suppression(k, variance, factors, noise_std) for k in SUPPRESSIONS}
    plain = plain_gradients(plan, kinds[MARGINAL], N_IMAGES, fetch, ("bench",))
    units = [np.array([i]) for i in range(setting.batch)]
    private = PrivateGradients(plan, kinds[MARGINAL], units, fetch, SecretStream.fresh())
    ready = torch.randn(setting.batch, 2, *shape[1:], generator=generator)
    last = ready.to(memory_format=torch.channels_last)
    steps = {
        "bare": _bare(plan, ready, labels[: setting.batch]),
        "bare, channels last": _bare(plan, last, labels[: setting.batch]),
        "step": _step(plan, variance, plain),
        "DP-SGD": _step(plan, variance, private),
        **{name: _penalty(kinds[name], images[: setting.batch], ready) for name in kinds},
    }
    seconds = in_turns(steps, n_times)
    return {
        **{f"{name}, ms": 1e3 * value for name, value in seconds.items()},
        "step / bare": seconds["step"] / seconds["bare"],
        "step / bare, channels last": seconds["step"] / seconds["bare, channels last"],
        "goal": setting.goal,
        "DP-SGD / step": seconds["DP-SGD"] / seconds["step"],
        **{f"{name} / step": seconds[name] / seconds["step"] for name in kinds},
    }


def _penalty(
    suppression: Penalty, images: torch.Tensor, ready: torch.Tensor
) -> Callable[[], None]:
    """A suppression and its slope, for as many masks as the batch has; an attacker in the loop
    takes its own step, too."""
    generator = torch.Generator().manual_seed(2)
    masks = (torch.rand(len(ready), *ready.shape[2:], generator=generator) < RATIO).float()
    masks.requires_grad_()
    kspace = torch.view_as_complex(ready.movedim(1, -1).contiguous())

    def penalise() -> None:
        masks.grad = None
        suppression.of(images, kspace * masks, masks).backward()

    return penalise


def _step(plan: Plan, variance: torch.Tensor, gradients: Gradients) -> Callable[[], None]:
    model = build_model(plan, plan.arms[0], variance)
    optimizer = make_optimizer(model, plan)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        gradients(model, BETA)
        optimizer.step()

    return step


def _bare(plan: Plan, ready: torch.Tensor, labels: torch.Tensor) -> Callable[[], None]:
    """The same network, loss and optimizer on a batch that is already there."""
    network = build_model(plan, plan.arms[0]).network
    rate = plan.training.learning_rate
    optimizer = torch.optim.Adam(network.parameters(), lr=rate, fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        functional.binary_cross_entropy_with_logits(network(ready), labels).backward()
        optimizer.step()

    return step


def table(n_times: int) -> dict[str, dict[str, float]]:
    """All settings."""
    return {
        f"{s.size} px, batch {s.batch}, width {s.width}": measure(s, n_times) for s in SETTINGS
    }
