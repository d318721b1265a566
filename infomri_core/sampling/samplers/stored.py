"""One mask that was found elsewhere: by ``infomri prom``, or by another system."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from infomri_core.sampling.amortised import Amortised
from infomri_core.sampling.options import SamplerOptions, Setting, Style
from infomri_core.sampling.policy import Constraint, SamplingPolicy
from infomri_core.sampling.stored_mask import digest_of, unpacked
from infomri_core.tasks.task import Rule


@final
class GivenMask(SamplingPolicy):
    """A mask (H, W) that was fixed elsewhere: its points at every ratio, and no others."""

    def __init__(self, mask: Tensor, constraint: Constraint = "2d") -> None:
        super().__init__((int(mask.shape[0]), int(mask.shape[1])), constraint)
        self.register_buffer("mask", mask.float(), persistent=False)

    def density(self, ratio: float) -> Tensor:
        """The mask itself."""
        return self.get_buffer("mask")

    def forward(self, ratio: float) -> Tensor:
        """The mask itself, whatever the ratio."""
        return self.get_buffer("mask")


@final
@dataclass(frozen=True)
class Stored(SamplerOptions):
    """An arm's ``sampler = "stored"``: ``mask`` is a file, .npy or .json of 0 and 1 (H, W), beside
    the plan; where the plan is read its points take the place of the file's name, so that what is
    approved is what runs."""

    mask: str

    name = "stored"
    title = "stored mask"
    style = Style("stored mask", "#332288", "d", "diamond-tall")

    @property
    def digest(self) -> str:
        """sha256 of the mask, hex. ``InputError`` where ``mask`` is not one."""
        return digest_of(self.mask)

    def tags(self) -> tuple[str, ...]:
        return (self.digest[:8],)

    def parameters(self) -> dict[str, object]:
        return {"mask": self.digest}

    def rules(self, setting: Setting) -> list[Rule]:
        mask = unpacked(self.mask)
        if mask.shape != setting.shape:
            return [(False, "mask", f"{setting.shape} as the images", tuple(mask.shape))]
        n, points = int(mask.sum()), mask.numel()
        columns = bool((mask == mask[:1]).all()) or setting.constraint == "2d"
        low, high = (abs(ratio * points - n) < 1 for ratio in setting.ratio_range)
        only = f"a ratio_range of the mask's own ratio, {n / points:.6g}, alone"
        return [
            (columns, "mask", "whole columns with [measurement] constraint = '1d'", "points"),
            (low and high, "mask", only, setting.ratio_range),
        ]

    def describe(self) -> str:
        n = int(unpacked(self.mask).sum())
        return f"the {n} points of one given mask, sha256 {self.digest}"

    def build(
        self,
        setting: Setting,
        variance: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Amortised:
        mask = unpacked(self.mask)
        return Amortised(GivenMask(mask, setting.constraint), setting.method)
