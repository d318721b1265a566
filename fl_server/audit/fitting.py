"""Fitting one attack after the other on the audit set; one that fails does not stop the others."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from infomri_core.attacks import registry as attacks
from infomri_core.attacks.audit_set import AuditSet, Scenarios, folds
from infomri_core.attacks.base import Attack
from infomri_core.attacks.certify import Certificate, certify, control_psnr
from infomri_core.attacks.ensemble import Ensemble
from infomri_core.attacks.networks.learned import LearnedAttack
from infomri_core.attacks.registry import ENSEMBLE, FLOORS, REFERENCE
from infomri_core.plan.plan import Plan
from infomri_core.randomness.seeds import torch_generator
from infomri_core.sampling import Sampler

PARTS = 4
Say = Callable[[str], None]


class AttackFailed(Exception):
    """An attack that could not be fitted or certified, and why in words."""


@dataclass(frozen=True)
class FitContext:
    """What every attack of one study is fitted on, and the images it is certified on.

    ``images`` (n, H, W) with their ``patients`` (n,) and the task's ``targets``; ``held_out``
    (k, H, W) of other patients; ``options`` by attack; ``size_curve`` asks for the curves of
    learned attacks too.
    """

    plan: Plan
    images: Tensor
    patients: np.ndarray
    targets: Tensor
    held_out: Tensor
    samplers: Sequence[Sampler]
    options: Mapping[str, Mapping[str, Any]]
    size_curve: bool = False

    def fit(self, name: str, rows: np.ndarray | None = None) -> Attack:
        """The attack fitted on all images, or on ``rows`` of them. Raises ``AttackFailed``."""
        rows = np.arange(len(self.images)) if rows is None else rows
        attack = attacks.build(name, self.plan.task.shape, **self.options.get(name, {}))
        if len(rows) < attack.least_images:
            raise AttackFailed(
                f"it needs at least {attack.least_images} audit images, there are {len(rows)}"
            )
        guarded(lambda: attack.to(self.images.device).fit(self._audit_set(attack, rows)))
        if isinstance(attack, LearnedAttack) and attack.diverged:
            raise AttackFailed(f"training diverged after step {attack.history[-1].step}")
        return attack

    def _audit_set(self, attack: Attack, rows: np.ndarray) -> AuditSet:
        """What the attack is fitted on: rows of the images under the arms' samplers, and a random
        stream of its own."""
        device, measurement = self.images.device, self.plan.measurement
        generator = torch_generator(self.plan.study.seed, "attack", attack.name, device=device)
        ratios, chosen = [1 / a for a in measurement.accelerations], torch.from_numpy(rows)
        scenarios = Scenarios.of(self.samplers, ratios, measurement.noise_std, device)
        labels = self.targets[chosen] if attack.needs_labels else None
        return AuditSet(self.images[chosen], self.patients[rows], scenarios, generator, labels)

    def certify(self, attack: Attack, reference: Attack) -> Certificate:
        """The attack's certificate with its size curve. Raises ``AttackFailed``."""
        given = (self.held_out, self.plan.measurement.noise_std)
        certificate = guarded(
            lambda: certify(attack, reference, *given, self._control(), self.plan.constraint)
        )
        if not np.isfinite(certificate.psnr):
            raise AttackFailed("its images are not finite numbers")
        curve = (*self._smaller(attack), (len(self.images), certificate.psnr))
        return dataclasses.replace(certificate, size_curve=curve if len(curve) > 1 else ())

    def _smaller(self, attack: Attack) -> list[tuple[int, float]]:
        """(images, PSNR on the control mask) after a quarter and after half of the patients."""
        learned = isinstance(attack, LearnedAttack) and not self.size_curve
        parts = folds(len(self.images), PARTS, self.patients)
        if learned or isinstance(attack, Ensemble) or len(parts) < PARTS:
            return []
        quarter, half = parts[0][1], np.concatenate((parts[0][1], parts[1][1]))
        points = []
        for rows in (quarter, half):
            try:
                smaller = self.fit(attack.name, rows)
            except AttackFailed:
                continue
            given = (smaller, self.held_out, self.plan.measurement.noise_std)
            quality = control_psnr(*given, self._control(), self.plan.constraint)
            points.append((len(rows), quality))
        return points

    def _control(self) -> torch.Generator:
        return torch_generator(self.plan.study.seed, "certify", device=self.images.device)


@dataclass
class Fitted:
    """The attacks that could be fitted, their certificates, and why others could not."""

    attacks: dict[str, Attack] = field(default_factory=dict)
    certificates: dict[str, Certificate] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def fit_attacks(context: FitContext, names: Sequence[str], say: Say) -> Fitted:
    """Fit the floors and ``names`` and certify them against LMMSE, fitted for that if need be.

    An attack that runs out of memory, diverges or has too few images is in ``failed`` only. The
    ensemble averages the attacks that passed; where fewer than two did, all others.
    """
    fitted = Fitted()
    alone = [name for name in names if name != ENSEMBLE]
    wanted = alone if REFERENCE in alone else [REFERENCE, *alone]
    for name in (*FLOORS, *wanted):
        _try(fitted, name, say, lambda name=name: context.fit(name))  # type: ignore[misc]
        if name in fitted.attacks and name not in FLOORS:
            say(f"attack {name} fitted on {len(context.images)} images of the audit set")
    reference = fitted.attacks.get(REFERENCE)
    for name in alone:
        _certify(fitted, context, name, reference, say)
    if ENSEMBLE in names:
        _try(fitted, ENSEMBLE, say, lambda: _ensemble(fitted, context))
        _certify(fitted, context, ENSEMBLE, reference, say)
    if REFERENCE not in names:
        fitted.attacks.pop(REFERENCE, None)
    return fitted


def guarded(act: Callable[[], Any]) -> Any:
    """``act()``, with running out of memory and failed arithmetic as ``AttackFailed``."""
    try:
        return act()
    except (torch.OutOfMemoryError, MemoryError):
        raise AttackFailed("it ran out of memory") from None
    except RuntimeError as error:
        # PyTorch's CPU allocator says so with a plain RuntimeError.
        if "allocate memory" in str(error):
            raise AttackFailed("it ran out of memory") from None
        raise AttackFailed(f"{type(error).__name__}: {str(error).splitlines()[0]}") from error


def _try(fitted: Fitted, name: str, say: Say, make: Callable[[], Attack]) -> None:
    try:
        fitted.attacks[name] = make()
    except AttackFailed as failure:
        _fail(fitted, name, failure, say)


def _certify(
    fitted: Fitted, context: FitContext, name: str, reference: Attack | None, say: Say
) -> None:
    if name not in fitted.attacks or reference is None:
        return
    try:
        fitted.certificates[name] = context.certify(fitted.attacks[name], reference)
    except AttackFailed as failure:
        del fitted.attacks[name]
        _fail(fitted, name, failure, say)


def _fail(fitted: Fitted, name: str, failure: AttackFailed, say: Say) -> None:
    fitted.failed[name] = str(failure)
    say(f"attack {name} failed, the audit continues without it: {failure}")


def _ensemble(fitted: Fitted, context: FitContext) -> Attack:
    others = [name for name in fitted.attacks if name in context.plan.evaluation.attacks]
    members = ensemble_members(others, fitted.certificates)
    if len(members) < 2:
        raise AttackFailed("fewer than two attacks are left to average")
    return Ensemble(context.plan.task.shape).bind(fitted.attacks, members)


def ensemble_members(
    names: Sequence[str], certificates: Mapping[str, Certificate]
) -> tuple[str, ...]:
    """The attacks to average: those that passed their test; where fewer than two did, all."""
    others = tuple(name for name in names if name != ENSEMBLE)
    passed = tuple(n for n in others if n in certificates and certificates[n].passed)
    return passed if len(passed) > 1 else others
