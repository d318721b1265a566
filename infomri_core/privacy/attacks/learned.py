"""Attacks that are networks, and the one way they are trained: amortised over arms and ratios."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn

from infomri_core.errors import InputError
from infomri_core.images import psnr
from infomri_core.privacy.attacks.base import Attack, Policies, check_images, folds
from infomri_core.privacy.attacks.scenarios import CONTROL_SHARE, Scenarios
from infomri_core.train import learning_rate_factor

_N_VALIDATION = 64
_N_CHECKS = 10
_N_FOLDS = 7
_BATCH = 32


class Progress(NamedTuple):
    """Where training stood after ``step`` steps: MSE on its batches, PSNR (dB) on images held
    out of them."""

    step: int
    train_mse: float
    validation_psnr: float


class LearnedAttack(Attack):
    """One network for every arm and ratio; every batch has fresh masks and fresh noise.

    An eighth of the batches come from the control mask on which the attack is certified. The
    state with the best PSNR on held-out audit images is kept; ``history`` logs convergence.
    Training that diverges ends there, with the best state so far.
    """

    def __init__(
        self, shape: tuple[int, int], n_steps: int, batch_size: int, learning_rate: float
    ) -> None:
        super().__init__(shape)
        if n_steps < 1 or batch_size < 1:
            got = f"n_steps={n_steps}, batch_size={batch_size}"
            raise InputError(f"attack '{self.name}'", "at least one of each", got, "correct it")
        self.n_steps = n_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.history: list[Progress] = []
        self.network = self._fresh(0)

    @abstractmethod
    def make_network(self) -> nn.Module:
        """The architecture, freshly initialised."""

    @abstractmethod
    def predict(self, measurement: Tensor, mask: Tensor) -> Tensor:
        """Images (B, H, W), not yet clipped, differentiable in the network's weights."""

    def prepare(self, images: Tensor, noise_std: float, generator: torch.Generator) -> None:
        """Take from the audit set what the network is given besides the measurement."""

    @torch.no_grad()
    def reconstruct(self, measurement: Tensor, mask: Tensor) -> Tensor:
        parts = zip(measurement.split(_BATCH), mask.split(_BATCH))
        return torch.cat([self.predict(y, m).clamp(0, 1) for y, m in parts])

    def fit(
        self,
        images: Tensor,
        policy: Policies,
        ratios: Sequence[float],
        noise_std: float,
        generator: torch.Generator,
        patients: np.ndarray | None = None,
    ) -> Self:
        check_images(images, self.shape)
        scenarios = Scenarios.of(policy, ratios, noise_std, images.device)
        seed = torch.randint(2**31, (1,), generator=generator, device=generator.device)
        self.network = self._fresh(int(seed)).to(images.device)
        kept, held = folds(len(images), _N_FOLDS, patients)[-1]
        chosen = held[np.linspace(0, len(held) - 1, min(_N_VALIDATION, len(held))).astype(int)]
        self.prepare(images[kept], noise_std, generator)
        self._train(images[kept], images[chosen], scenarios, generator)
        return self

    def _train(
        self, images: Tensor, held: Tensor, scenarios: Scenarios, generator: torch.Generator
    ) -> None:
        validation = scenarios.each(held, generator)
        optimizer = torch.optim.Adam(self.network.parameters(), lr=self.learning_rate)
        best = self._check(0, math.nan, held, validation), self._snapshot()
        every, errors = max(1, self.n_steps // _N_CHECKS), []
        for step in range(self.n_steps):
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate * learning_rate_factor(step, self.n_steps)
            loss = self._loss(images, scenarios, generator)
            if not torch.isfinite(loss):
                break
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            errors.append(float(loss.detach()))
            if (step + 1) % every == 0 or step + 1 == self.n_steps:
                quality = self._check(step + 1, float(np.mean(errors)), held, validation)
                errors = []
                if quality > best[0]:
                    best = quality, self._snapshot()
        self.network.load_state_dict(best[1])

    def _loss(self, images: Tensor, scenarios: Scenarios, generator: torch.Generator) -> Tensor:
        size = (min(self.batch_size, len(images)),)
        rows = torch.randint(len(images), size, generator=generator, device=generator.device)
        truth = images[rows.to(images.device)]
        measurement, masks = scenarios.measure(truth, generator, CONTROL_SHARE)
        return (self.predict(measurement, masks) - truth).square().mean()

    def _check(
        self, step: int, train_mse: float, held: Tensor, validation: tuple[Tensor, Tensor]
    ) -> float:
        quality = float(psnr(self.reconstruct(*validation), held).mean())
        self.history.append(Progress(step, train_mse, quality))
        return quality

    def _snapshot(self) -> dict[str, Tensor]:
        return {name: t.detach().clone() for name, t in self.network.state_dict().items()}

    def _fresh(self, seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.make_network()
