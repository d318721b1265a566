"""Attacks that are networks, and the one way they are trained: amortised over arms and ratios."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
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
    """Where training stood after ``step`` steps: MSE on the batches since the last entry (none
    yet at step 0), PSNR (dB) on images held out of them."""

    step: int
    train_mse: float | None
    validation_psnr: float


_Given = tuple[Tensor, Tensor, Tensor]
"""y and masks, (B, H, W) each, and the number (B,) of the image behind each."""


@dataclass(frozen=True)
class _Batches:
    """Random audit images out of ``kept``, each batch under one arm and ratio or the control."""

    images: Tensor
    kept: Tensor
    batch_size: int
    scenarios: Scenarios
    generator: torch.Generator

    def draw(self) -> tuple[Tensor, _Given]:
        device = self.generator.device
        size = (min(self.batch_size, len(self.kept)),)
        picks = torch.randint(len(self.kept), size, generator=self.generator, device=device)
        rows = self.kept[picks.cpu()].to(self.images.device)
        truth = self.images[rows]
        measurement, masks = self.scenarios.measure(truth, self.generator, CONTROL_SHARE)
        return truth, (measurement, masks, rows)


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

    def practise(self, measurement: Tensor, mask: Tensor, rows: Tensor) -> Tensor:
        """What :meth:`predict` gives while fitting: ``rows`` (B,) say which audit images these
        are, for a part that would otherwise have seen them before."""
        return self.predict(measurement, mask)

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
        self.history = []
        batches = _Batches(images, torch.from_numpy(kept), self.batch_size, scenarios, generator)
        self._train(batches, torch.from_numpy(chosen).to(images.device))
        return self

    def _train(self, batches: "_Batches", held: Tensor) -> None:
        truth = batches.images[held]
        validation = (*batches.scenarios.each(truth, batches.generator), held)
        optimizer = torch.optim.Adam(self.network.parameters(), lr=self.learning_rate)
        best = self._check(0, None, truth, validation), self._snapshot()
        every, errors = max(1, self.n_steps // _N_CHECKS), []
        for step in range(self.n_steps):
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate * learning_rate_factor(step, self.n_steps)
            target, given = batches.draw()
            loss = (self.practise(*given) - target).square().mean()
            if not torch.isfinite(loss):
                break
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            errors.append(float(loss.detach()))
            if (step + 1) % every == 0 or step + 1 == self.n_steps:
                quality = self._check(step + 1, float(np.mean(errors)), truth, validation)
                errors = []
                if quality > best[0]:
                    best = quality, self._snapshot()
        self.network.load_state_dict(best[1])

    @torch.no_grad()
    def _check(
        self, step: int, train_mse: float | None, truth: Tensor, validation: _Given
    ) -> float:
        parts = zip(*(t.split(_BATCH) for t in validation))
        output = torch.cat([self.practise(*part) for part in parts])
        quality = float(psnr(output, truth).mean())
        self.history.append(Progress(step, train_mse, quality))
        return quality

    def _snapshot(self) -> dict[str, Tensor]:
        return {name: t.detach().clone() for name, t in self.network.state_dict().items()}

    def _fresh(self, seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.make_network()
