"""Attacks that are networks, and the one way they are trained: amortised over arms and ratios."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn

from infomri_core.attacks.base import Attack, Policies, check_images, folds
from infomri_core.attacks.scenarios import CONTROL_SHARE, Scenarios
from infomri_core.physics.images import psnr
from infomri_core.system.errors import Cancelled, InputError
from infomri_core.training.fit import learning_rate_factor

_N_VALIDATION = 64
_N_CHECKS = 10
_PATIENCE = 5
_N_FOLDS = 7
_BATCH = 32


class Progress(NamedTuple):
    """Where training stood after ``step`` steps: mean loss of the batches since the last entry
    (none at step 0), PSNR (dB) on images held out of them."""

    step: int
    train_loss: float | None
    validation_psnr: float


class Batch(NamedTuple):
    """True images, y and masks, (B, H, W) each, and the number (B,) of the image behind each."""

    truth: Tensor
    measurement: Tensor
    masks: Tensor
    rows: Tensor


@dataclass(frozen=True)
class Budget:
    """What a learned attack was given: parameters, optimizer steps at most and taken, batch."""

    n_parameters: int
    n_steps: int
    n_taken: int
    batch_size: int


@dataclass(frozen=True)
class _Practice:
    """Random audit images out of ``kept``, each batch under one arm and ratio or the control."""

    images: Tensor
    kept: Tensor
    batch_size: int
    scenarios: Scenarios
    generator: torch.Generator

    def draw(self) -> Batch:
        device = self.generator.device
        size = (min(self.batch_size, len(self.kept)),)
        picks = torch.randint(len(self.kept), size, generator=self.generator, device=device)
        rows = self.kept[picks.cpu()].to(self.images.device)
        truth = self.images[rows]
        return Batch(truth, *self.scenarios.measure(truth, self.generator, CONTROL_SHARE), rows)

    def validation(self, rows: Tensor) -> Batch:
        truth = self.images[rows]
        return Batch(truth, *self.scenarios.each(truth, self.generator), rows)


class LearnedAttack(Attack):
    """One network for every arm and ratio; every batch has fresh masks and fresh noise.

    An eighth of the batches come from the control mask on which the attack is certified. The
    budget is ``n_steps`` optimizer steps, the learning rate falling to zero over them. Ten times
    on the way the PSNR on held-out audit images is taken: ``history`` logs it, the best state is
    kept, and training stops early when half of the budget has brought nothing better. Training
    that diverges ends there, with the best state so far, and sets ``diverged``.
    """

    least_images = 8

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
        self.diverged = False
        self._cancelled: Callable[[], bool] = lambda: False
        self.network = self._fresh(0)

    @property
    def budget(self) -> Budget:
        """What its training may take and took."""
        n_parameters = sum(p.numel() for p in self.network.parameters())
        n_taken = self.history[-1].step if self.history else 0
        return Budget(n_parameters, self.n_steps, n_taken, self.batch_size)

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

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """What an optimizer step lowers: the mean squared error of the images."""
        output = self.practise(batch.measurement, batch.masks, batch.rows)
        return (output - batch.truth).square().mean()

    def finish(self, batch: Batch) -> None:
        """Settle on the held-out ``batch`` what is left to settle after training."""

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
        seed = torch.randint(2**31, (1,), generator=generator, device=generator.device)
        self.network = self._fresh(int(seed)).to(images.device)
        scenarios = Scenarios.of(policy, ratios, noise_std, images.device)
        return self._learn(images, scenarios, generator, patients)

    def adapt(
        self,
        images: Tensor,
        policy: Policies,
        ratios: Sequence[float],
        noise_std: float,
        generator: torch.Generator,
        patients: np.ndarray | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Self:
        """Go on training, from the state it has, on images (n, H, W) it has not seen.

        As :meth:`fit`, but for the start; so it never ends worse, on its held-out images, than it
        began. Raises ``Cancelled`` between two steps once ``cancelled`` says so.
        """
        check_images(images, self.shape)
        self._cancelled = cancelled
        scenarios = Scenarios.of(policy, ratios, noise_std, images.device)
        return self._learn(images, scenarios, generator, patients)

    def _learn(
        self,
        images: Tensor,
        scenarios: Scenarios,
        generator: torch.Generator,
        patients: np.ndarray | None,
    ) -> Self:
        kept, held = folds(len(images), _N_FOLDS, patients)[-1]
        chosen = held[np.linspace(0, len(held) - 1, min(_N_VALIDATION, len(held))).astype(int)]
        self.history, self.diverged = [], False
        practice = _Practice(images, torch.from_numpy(kept), self.batch_size, scenarios, generator)
        held_out = practice.validation(torch.from_numpy(chosen).to(images.device))
        self._train(practice, held_out)
        self.finish(held_out)
        return self

    def _train(self, practice: _Practice, held_out: Batch) -> None:
        optimizer = torch.optim.Adam(self.network.parameters(), lr=self.learning_rate)
        best = self._check(0, None, held_out), 0, self._snapshot()
        every, errors = max(1, self.n_steps // _N_CHECKS), []
        for step in range(1, self.n_steps + 1):
            if self._cancelled():
                raise Cancelled
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate * learning_rate_factor(step - 1, self.n_steps)
            loss = self.loss(practice.draw(), practice.generator)
            if not torch.isfinite(loss):
                self.diverged = True
                break
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            errors.append(float(loss.detach()))
            if step % every == 0 or step == self.n_steps:
                quality = self._check(step, float(np.mean(errors)), held_out)
                errors = []
                if quality > best[0]:
                    best = quality, step, self._snapshot()
                elif step - best[1] >= _PATIENCE * every:
                    break
        self.network.load_state_dict(best[2])

    def _check(self, step: int, train_loss: float | None, held_out: Batch) -> float:
        quality = self.quality(held_out)
        self.history.append(Progress(step, train_loss, quality))
        return quality

    @torch.no_grad()
    def quality(self, batch: Batch) -> float:
        """Mean PSNR (dB) on a batch, as in fitting."""
        parts = zip(*(t.split(_BATCH) for t in batch[1:]))
        output = torch.cat([self.practise(*part) for part in parts])
        return float(psnr(output, batch.truth).mean())

    def _snapshot(self) -> dict[str, Tensor]:
        return {name: t.detach().clone() for name, t in self.network.state_dict().items()}

    def _fresh(self, seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.make_network()
