"""Compressed sensing: no network, one penalty, its weight tuned on the audit set."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from infomri_core.attacks.audit_set import CONTROL_RATIO, AuditSet, Scenarios, check_images
from infomri_core.attacks.base import Attack
from infomri_core.attacks.linear.conjugate import symmetrise
from infomri_core.attacks.sparse.fista import Penalty, fista
from infomri_core.physics.images import psnr
from infomri_core.physics.kspace import fft2c
from infomri_core.system.errors import InputError

WEIGHTS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
MAX_LEVELS = 65
_N_FOLDS = 4
_N_TRIALS = 12
_BATCH = 32


class CompressedSensing(Attack):
    """x = a mean + argmin_d 1/2 sum_i c_i/2 |F(a mean + d) - y|_i^2 + w sigma R(d).

    For every sampling ratio, and for the control mask, the weight w and whether R judges the image
    (a = 0) or its deviation from the mean image (a = 1) are those with the best mean PSNR on
    held-out audit images. A mask is given the values of the nearest ratio.
    """

    n_iterations: ClassVar[int]
    mean: Tensor
    noise_std: Tensor
    levels: Tensor
    weights: Tensor
    anchors: Tensor

    def __init__(self, shape: tuple[int, int]) -> None:
        super().__init__(shape)
        self.register_buffer("mean", torch.zeros(self.shape))
        self.register_buffer("noise_std", torch.ones(1))
        self._allocate(1)

    @abstractmethod
    def make_penalty(self) -> Penalty:
        """What makes an image implausible."""

    @torch.no_grad()
    def fit(self, audit_set: AuditSet) -> Self:
        check_images(audit_set.images, self.shape)
        images, scenarios = audit_set.images, audit_set.scenarios
        self.noise_std = images.new_full((1,), audit_set.noise_std)
        tuned = [*(scenarios.at(ratio) for ratio in scenarios.ratios), scenarios.only_control()]
        kept, held = audit_set.folds(_N_FOLDS)[0]
        chosen = held[np.linspace(0, len(held) - 1, min(_N_TRIALS, len(held))).astype(int)]
        self.mean = images[torch.from_numpy(kept)].mean(0)
        trials = images[torch.from_numpy(chosen)]
        best = [self._tune(trials, each, audit_set.generator) for each in tuned]
        self.levels = images.new_tensor([*scenarios.ratios, CONTROL_RATIO])
        self.weights, self.anchors = images.new_tensor(best).unbind(1)
        self.mean = images.mean(0)
        return self

    @torch.no_grad()
    def reconstruct(self, measurement: Tensor, mask: Tensor) -> Tensor:
        seen = mask.mean((-2, -1)).clamp_min(1e-9).log()
        level = (seen[:, None] - self.levels.log()).abs().argmin(1)
        weight, anchor = self.weights[level], self.anchors[level]
        given = (t.split(_BATCH) for t in (measurement, mask, weight, anchor))
        return torch.cat([self._solve(*part) for part in zip(*given)])

    def _tune(
        self, trials: Tensor, scenarios: Scenarios, generator: torch.Generator
    ) -> tuple[float, float]:
        measurement, masks = scenarios.each(trials, generator)
        candidates = [(weight, anchor) for anchor in (0.0, 1.0) for weight in WEIGHTS]
        quality = []
        for weight, anchor in candidates:
            given = (torch.full_like(masks[:, 0, 0], value) for value in (weight, anchor))
            quality.append(float(psnr(self._solve(measurement, masks, *given), trials).mean()))
        return candidates[int(np.argmax(quality))]

    def _solve(self, measurement: Tensor, mask: Tensor, weight: Tensor, anchor: Tensor) -> Tensor:
        y, count = symmetrise(measurement, mask)
        start = anchor[:, None, None] * self.mean
        deviation = torch.where(count > 0, y - fft2c(start), 0)
        strength = (weight * self.noise_std)[:, None, None]
        change = fista(deviation, count, self.make_penalty(), strength, self.n_iterations)
        return (start + change).clamp(0, 1)

    def make_room(self, arrays: Mapping[str, np.ndarray]) -> None:
        where = f"attack '{self.name}'"
        levels = arrays.get("levels")
        n_levels = 0 if levels is None or levels.ndim != 1 else len(levels)
        if not 1 <= n_levels <= MAX_LEVELS:
            expected = f"1 .. {MAX_LEVELS} levels"
            raise InputError(where, expected, str(n_levels), "fit it again")
        for name in ("noise_std", "levels", "weights"):
            if name in arrays and not (arrays[name] >= 1e-9).all():
                raise InputError(where, f"{name} > 0", "less", "fit it again")
        self._allocate(n_levels)

    def _allocate(self, n_levels: int) -> None:
        for name in ("levels", "weights", "anchors"):
            self.register_buffer(name, torch.ones(n_levels, device=self.mean.device))
