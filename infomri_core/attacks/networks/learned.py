"""Attacks that are networks, and the one way they are trained: amortised over arms and ratios."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn

from infomri_core.attacks.audit_set import CONTROL_SHARE, AuditSet, check_images
from infomri_core.attacks.base import Attack
from infomri_core.fitting.loop import Diverged, Stretch, descend, finite
from infomri_core.physics.images import psnr
from infomri_core.system.errors import InputError

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

    audit_set: AuditSet
    kept: Tensor
    batch_size: int

    def draw(self) -> Batch:
        images, generator = self.audit_set.images, self.audit_set.generator
        size = (min(self.batch_size, len(self.kept)),)
        picks = torch.randint(len(self.kept), size, generator=generator, device=generator.device)
        rows = self.kept[picks.cpu()].to(images.device)
        truth = images[rows]
        measured = self.audit_set.scenarios.measure(truth, generator, CONTROL_SHARE)
        return Batch(truth, *measured, rows)

    def validation(self, rows: Tensor) -> Batch:
        truth = self.audit_set.images[rows]
        return Batch(truth, *self.audit_set.scenarios.each(truth, self.audit_set.generator), rows)


@dataclass(frozen=True)
class Learning:
    """The most optimizer steps, the images of each, and the learning rate at its highest."""

    n_steps: int = 400
    batch_size: int = 16
    learning_rate: float = 3e-3


class LearnedAttack(Attack):
    """One network for every arm and ratio; every batch has fresh masks and fresh noise.

    An eighth of the batches come from the control mask on which the attack is certified. The
    budget is ``n_steps`` optimizer steps, the learning rate falling to zero over them. Ten times
    on the way the PSNR on held-out audit images is taken: ``history`` logs it, the best state is
    kept, and training stops early when half of the budget has brought nothing better. Training
    that diverges ends there, with the best state so far, and sets ``diverged``.
    """

    least_images = 8
    options_class: ClassVar[type[Any]] = Learning

    def __init__(self, shape: tuple[int, int], **options: Any) -> None:
        super().__init__(shape, **options)
        self.n_steps: int = self.options.n_steps
        self.batch_size: int = self.options.batch_size
        if self.n_steps < 1 or self.batch_size < 1:
            got = f"n_steps={self.n_steps}, batch_size={self.batch_size}"
            raise InputError(f"attack '{self.name}'", "at least one of each", got, "correct it")
        self.learning_rate: float = self.options.learning_rate
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

    def fit(self, audit_set: AuditSet) -> Self:
        check_images(audit_set.images, self.shape)
        generator = audit_set.generator
        seed = torch.randint(2**31, (1,), generator=generator, device=generator.device)
        self.network = self._fresh(int(seed)).to(audit_set.images.device)
        return self._learn(audit_set)

    def adapt(self, audit_set: AuditSet, cancelled: Callable[[], bool] = lambda: False) -> Self:
        """Go on training, from the state it has, on images it has not seen.

        As :meth:`fit`, but for the start; so it never ends worse, on its held-out images, than it
        began. Raises ``Cancelled`` between two steps once ``cancelled`` says so.
        """
        check_images(audit_set.images, self.shape)
        self._cancelled = cancelled
        return self._learn(audit_set)

    def _learn(self, audit_set: AuditSet) -> Self:
        kept, held = audit_set.folds(_N_FOLDS)[-1]
        chosen = held[np.linspace(0, len(held) - 1, min(_N_VALIDATION, len(held))).astype(int)]
        self.history, self.diverged = [], False
        practice = _Practice(audit_set, torch.from_numpy(kept), self.batch_size)
        held_out = practice.validation(torch.from_numpy(chosen).to(audit_set.images.device))
        self._train(practice, held_out)
        self.finish(held_out)
        return self

    def _train(self, practice: _Practice, held_out: Batch) -> None:
        optimizer = torch.optim.Adam(self.network.parameters(), lr=self.learning_rate)
        whole = Stretch(0, self.n_steps, self.n_steps)
        best = self._check(0, None, held_out), 0, self._snapshot()
        every, errors = max(1, self.n_steps // _N_CHECKS), []

        def gradient(step: int) -> float:
            loss = finite(self.loss(practice.draw(), practice.audit_set.generator))
            loss.backward()
            return float(loss.detach())

        try:
            for step, error in descend(optimizer, whole, gradient, self._cancelled):
                taken = step + 1
                errors.append(error)
                if taken % every and taken < self.n_steps:
                    continue
                quality = self._check(taken, float(np.mean(errors)), held_out)
                errors = []
                if quality > best[0]:
                    best = quality, taken, self._snapshot()
                elif taken - best[1] >= _PATIENCE * every:
                    break
        except Diverged:
            self.diverged = True
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
