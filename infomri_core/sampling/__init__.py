"""Sampling: which points of k-space are measured, by which mask, under an exact budget."""

from infomri_core.sampling.amortised import Amortised
from infomri_core.sampling.masks import draw_masks
from infomri_core.sampling.pgn import PatternGenerator
from infomri_core.sampling.policy import SamplingPolicy
from infomri_core.sampling.rescaling import rescale
from infomri_core.sampling.sampler import Acquisition, MaskSampler, Sampler, mask_sampler
from infomri_core.sampling.samplers.uniform import UniformPolicy
from infomri_core.sampling.samplers.variable_density import VariableDensityPolicy

__all__ = [
    "Acquisition",
    "Amortised",
    "MaskSampler",
    "PatternGenerator",
    "Sampler",
    "SamplingPolicy",
    "UniformPolicy",
    "VariableDensityPolicy",
    "draw_masks",
    "mask_sampler",
    "rescale",
]
