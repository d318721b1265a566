"""The policy of a plan's arm."""

from typing import Literal

import torch

from infomri_core.plan.plan import Arm, Constraint
from infomri_core.plan.rules import SAMPLERS
from infomri_core.sampling.fixed import UniformPolicy, VariableDensityPolicy
from infomri_core.sampling.pgn import PatternGenerator
from infomri_core.sampling.policy import SamplingPolicy
from infomri_core.system.errors import InputError


def build_policy(
    arm: Arm,
    shape: tuple[int, int],
    constraint: Constraint,
    start: Literal["spectral", "random"] = "spectral",
    variance: torch.Tensor | None = None,
    generator: torch.Generator | None = None,
) -> SamplingPolicy:
    """A fresh policy for ``arm``. A spectral start needs ``variance`` (2, H, W) of k-space.

    Raises ``InputError`` for an unknown sampler or start, or a spectral start without variance.
    """
    if arm.sampler == "uniform":
        return UniformPolicy(shape, constraint)
    if arm.sampler == "variable-density":
        return VariableDensityPolicy(shape, constraint, arm.exponent)
    if arm.sampler != "infomri":
        raise InputError("build_policy: sampler", " | ".join(SAMPLERS), arm.sampler, "choose one")
    policy = PatternGenerator(shape, constraint, generator=generator)
    if start == "random":
        return policy
    if start != "spectral":
        raise InputError("build_policy: start", "spectral or random", str(start), "choose one")
    if variance is None:
        remedy = "pass the audit set's KSpaceMoments.variance, or start='random'"
        raise InputError(
            "build_policy: variance", "(2, H, W) for a spectral start", "none", remedy
        )
    return policy.start_spectral(variance)
