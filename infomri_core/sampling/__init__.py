"""Sampling: a policy gives probabilities for a ratio, and masks are drawn from them."""

from infomri_core.sampling.build import build_policy
from infomri_core.sampling.fixed import UniformPolicy, VariableDensityPolicy
from infomri_core.sampling.masks import draw_masks
from infomri_core.sampling.pgn import PatternGenerator
from infomri_core.sampling.policy import SamplingPolicy
from infomri_core.sampling.rescaling import rescale

__all__ = [
    "PatternGenerator",
    "SamplingPolicy",
    "UniformPolicy",
    "VariableDensityPolicy",
    "build_policy",
    "draw_masks",
    "rescale",
]
