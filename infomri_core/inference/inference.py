"""A trained arm at work: which one, at which ratio, and what it says about an image."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from infomri_core.arms.build import build_model
from infomri_core.arms.sampled_model import SampledModel
from infomri_core.arms.weights import flatten, state, unflatten
from infomri_core.physics.kspace import fft2c
from infomri_core.plan.plan import Arm, Plan
from infomri_core.results.arm_names import display_names, technical_name
from infomri_core.system.errors import InputError, nearest


@dataclass(frozen=True)
class ArmQuery:
    """What is asked of an arm; None asks nothing.

    ``name`` is either of an arm's names (`infomri_core.results.arm_names`). ``beta`` without a
    ``sampler`` asks for an arm of a sampler that is trained with suppression.
    """

    name: str | None = None
    beta: float | None = None
    sampler: str | None = None
    seed: int | None = None

    def matches(self, arm: Arm, learned: Collection[str]) -> bool:
        """Whether ``arm`` is among those asked for, where ``name`` is a technical one and
        ``learned`` are the samplers that a beta weighs on."""
        any_sampler = self.sampler is None and self.beta is not None and self.name is None
        return (
            self.name in (None, arm.name)
            and self.beta in (None, arm.beta)
            and (arm.sampler in learned if any_sampler else self.sampler in (None, arm.sampler))
            and self.seed in (None, arm.seed)
        )

    def __str__(self) -> str:
        asked = {"": self.name, "beta ": self.beta, "sampler ": self.sampler, "seed ": self.seed}
        parts = [
            key + (f"{value:g}" if isinstance(value, float) else str(value))
            for key, value in asked.items()
            if value is not None
        ]
        return ", ".join(parts) or "no choice"


def choose_arm(
    plan: Plan,
    query: ArmQuery,
    trained: Collection[str],
    dropped: Mapping[str, str] | None = None,
) -> Arm:
    """The one arm of ``plan`` that ``query`` matches and that ``trained`` holds weights of.

    ``InputError`` that lists the arms when there is none, more than one, or it was ``dropped``.
    """
    arms = {arm.name: arm for arm in plan.arms}
    if query.name is not None:
        query = replace(query, name=technical_name(query.name, arms))
    learned = {arm.sampler for arm in plan.arms if arm.options.learns}
    found = [arm for arm in plan.arms if query.matches(arm, learned)]
    listed = f"the arms are {', '.join(map(_named, display_names(arms).items()))}"
    if not found:
        hint = nearest(query.name, arms) if query.name else ""
        raise InputError("arm", "one of the model's arms", str(query), f"{hint} {listed}".strip())
    if len(found) > 1:
        names = ", ".join(arm.name for arm in found)
        remedy = f"choose with --arm, --beta, --sampler or --arm-seed; {listed}"
        raise InputError("arm", "the choice of one arm", f"{query}, which fits {names}", remedy)
    if found[0].name not in trained:
        why = (dropped or {}).get(found[0].name, "the checkpoint has no weights of it")
        kept = f"arms with weights: {', '.join(sorted(trained)) or 'none'}"
        raise InputError("arm", "an arm that was trained", f"{found[0].name} ({why})", kept)
    return found[0]


def _named(names: tuple[str, str]) -> str:
    technical, shown = names
    return technical if technical == shown else f"{technical} ({shown})"


def sampling_ratio(plan: Plan, acceleration: float) -> float:
    """1 / ``acceleration``; ``InputError`` outside the ratios that the plan's arms learned."""
    low, high = plan.measurement.ratio_range
    ratio = 1 / acceleration if acceleration >= 1 else 0.0
    if not low - 1e-9 <= ratio <= high + 1e-9:
        raise InputError(
            "acceleration",
            f"a number between {1 / high:.4g} and {1 / low:.4g} (the plan's ratio_range)",
            f"{acceleration:g}",
            "choose one that the model was trained for",
        )
    return ratio


def restore(plan: Plan, arm: Arm, flat: np.ndarray, device: str = "cpu") -> SampledModel:
    """The arm with its trained weights, all or :func:`deployed_weights`, in evaluation mode,
    without gradients and without what is there for training only. ``InputError`` when ``flat`` is
    not of the arm's length, or not finite.
    """
    if not np.isfinite(flat).all():
        raise InputError(
            f"weights of {arm.name}", "finite values", "NaN or inf", "take an earlier checkpoint"
        )
    model = build_model(plan, arm)
    whole = sum(tensor.numel() for tensor in state(model))
    if len(flat) == whole:
        unflatten(model, flat)
    model.network = plan.task.deployed(model.network)
    if len(flat) != whole:
        unflatten(model, flat)
    return model.requires_grad_(False).eval().to(device)


def deployed_weights(plan: Plan, arm: Arm, flat: np.ndarray) -> np.ndarray:
    """What of an arm's weights ``flat`` (n,) is of use after training."""
    return flatten(restore(plan, arm, flat))


@dataclass(frozen=True)
class Diagnosis:
    """What was found in n slices over the draws of mask and noise.

    ``mean`` and ``spread`` are (n, K): the mean of the task's answers (class probabilities, say),
    and their standard deviation over the draws (NaN where there was one draw). ``n_points`` (n,):
    how many different positions of k-space all draws measured together.
    """

    mean: np.ndarray
    spread: np.ndarray
    n_points: np.ndarray


@torch.no_grad()
def diagnose_images(
    model: SampledModel,
    images: torch.Tensor,
    ratio: float,
    generator: torch.Generator,
    n_draws: int = 1,
) -> Diagnosis:
    """The task's answers on images (n, H, W) in [0, 1] (InfoMRI, Algorithm 5).

    Each slice is measured ``n_draws`` times under a fresh mask and the noise of the training.
    """
    return diagnose_kspace(model, fft2c(images), ratio, generator, n_draws, model.noise_std)


@torch.no_grad()
def diagnose_kspace(
    model: SampledModel,
    kspace: torch.Tensor,
    ratio: float,
    generator: torch.Generator,
    n_draws: int = 1,
    noise_std: float = 0.0,
) -> Diagnosis:
    """The task's answers on centred k-space (n, H, W) that carries its own noise.

    It must be scaled as training's was: its image's 99.9th percentile is 1.
    """
    if n_draws < 1:
        raise InputError("draws", "at least 1", str(n_draws), "correct it")
    draws: list[torch.Tensor] = []
    measured = torch.zeros(kspace.shape, dtype=torch.bool, device=kspace.device)
    for _ in range(n_draws):
        found = model.acquire_kspace(kspace, ratio, noise_std, generator)
        output = model.output(found.y, found.mask)
        draws.append(model.task.answers(output).double().cpu())
        measured |= found.mask > 0
    stacked = torch.stack(draws)
    mean = stacked.mean(0)
    spread = stacked.std(0, correction=1) if n_draws > 1 else torch.full_like(mean, torch.nan)
    return Diagnosis(mean.numpy(), spread.numpy(), measured.sum((-2, -1)).cpu().numpy())
