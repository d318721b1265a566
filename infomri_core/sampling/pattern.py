"""Masks whose points are drawn together, not each by a probability of its own."""

import functools
from collections.abc import Callable
from typing import final

import torch
from torch import Tensor

from infomri_core.randomness.draws import Randomness, uniform
from infomri_core.randomness.seeds import torch_generator
from infomri_core.sampling.options import Setting
from infomri_core.sampling.policy import check_ratio
from infomri_core.sampling.sampler import MaskSampler

N_FOR_PROBABILITY = 256
"""Masks of a fixed seed whose mean stands for the probability of each point."""
_WHOLE = 1e-6

Law = Callable[[tuple[int, int], int, Randomness], Tensor]
"""One mask (bool) of exactly so many units on a grid: points (H, W), or columns (1, W)."""


def drawn_budget(n: int, ratio: float, generator: Randomness) -> int:
    """How many of ``n`` units one mask samples, at least one: floor or ceil of ``ratio`` x n, that
    on average, and exactly that where it is a whole number."""
    wanted = n * ratio
    if abs(wanted - round(wanted)) <= _WHOLE * max(1.0, wanted):
        return max(1, round(wanted))
    more = float(uniform(generator, (1,), torch.device("cpu")).double()) < wanted % 1
    return max(1, int(wanted) + more)


@final
class PatternMasks:
    """The masks of a pattern at one ratio."""

    def __init__(self, law: Law, setting: Setting, ratio: float, device: torch.device) -> None:
        self._law, self._ratio, self._device = law, ratio, device
        self._shape = setting.shape
        self._grid = setting.grid

    def draw(self, n_masks: int, generator: Randomness) -> Tensor:
        """Independent masks (n_masks, H, W) of zeros and ones."""
        height, width = self._grid
        n = height * width
        drawn = [
            self._law(self._grid, drawn_budget(n, self._ratio, generator), generator)
            for _ in range(n_masks)
        ]
        masks = torch.stack(drawn).to(self._device, torch.float32)
        return masks.expand(n_masks, *self._shape).contiguous()

    @functools.cached_property
    def probability(self) -> Tensor:
        """The mean (H, W) of 256 masks of a fixed seed: right to about 0.03 at each point."""
        generator = torch_generator("pattern", "probability", self._ratio)
        return self.draw(N_FOR_PROBABILITY, generator).mean(0)


@final
class Pattern(MaskSampler):
    """Draws masks by ``law``; it has nothing to learn and nothing to send."""

    def __init__(self, law: Law, setting: Setting) -> None:
        super().__init__()
        self._law, self._setting = law, setting
        self.shape, self.constraint = setting.shape, setting.constraint
        self.register_buffer("place", torch.zeros(0), persistent=False)

    def at(self, ratio: float) -> PatternMasks:
        check_ratio(ratio)
        return PatternMasks(self._law, self._setting, ratio, self.get_buffer("place").device)
