"""Attacks that are trained on a site's own images: for insiders, and for the site's own report."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from infomri_core.attacks import registry as attacks
from infomri_core.attacks.audit_set import AuditSet
from infomri_core.attacks.base import Attack
from infomri_core.attacks.networks.learned import LearnedAttack
from infomri_core.audit.adversaries import Adversaries
from infomri_core.messages import AdaptReply, AdaptTask
from infomri_core.messages.adapt import NETWORK
from infomri_core.messages.wire import Arrays
from infomri_core.plan.adversary_knowledge import adapted_attack, base_name, same_site_attacks
from infomri_core.plan.plan import Plan
from infomri_core.sampling import Sampler

MAX_IMAGES = 2048


@dataclass(frozen=True)
class Own:
    """The site's training ``images`` (n, H, W) of ``patients`` (n,), at most ``MAX_IMAGES`` of
    them, and the arms' ``samplers``, whose masks the attacks practise on."""

    plan: Plan
    images: Tensor
    patients: np.ndarray
    samplers: Sequence[Sampler]
    generator: torch.Generator
    cancelled: Callable[[], bool]

    def adapt(self, task: AdaptTask) -> AdaptReply:
        """What an insider makes of each of the task's networks."""
        name = adapted_attack(self.plan) or ""
        trained = {g: self._adapt(name, {**task.start, **n}) for g, n in task.networks.items()}
        networks = {
            group: {key: a for key, a in attack.to_arrays().items() if key.startswith(NETWORK)}
            for group, attack in trained.items()
        }
        return AdaptReply(len(self.images), networks)

    def join(self, adversaries: Adversaries) -> None:
        """Add the plan's same-site attacks to ``adversaries``; one that breaks down is named."""
        for name in same_site_attacks(self.plan):
            public = adversaries.attacks.get(base_name(name))
            if public is None:
                continue
            try:
                adversaries.attacks[name] = self._same_site(public)
            except (torch.OutOfMemoryError, MemoryError):
                adversaries.failed[name] = "memory"
            except RuntimeError:
                adversaries.failed[name] = "error"

    def _same_site(self, public: Attack) -> Attack:
        if isinstance(public, LearnedAttack):
            return self._adapt(public.name, public.to_arrays())
        attack = attacks.build(public.name, self.plan.task.shape).to(self.images.device)
        return attack.fit(self._audit_set())

    def _adapt(self, name: str, arrays: Arrays) -> LearnedAttack:
        steps = self.plan.evaluation.adversary_steps
        attack = attacks.build(name, self.plan.task.shape, n_steps=steps)
        assert isinstance(attack, LearnedAttack)
        attack.load(arrays).to(self.images.device)
        return attack.adapt(self._audit_set(), self.cancelled)

    def _audit_set(self) -> AuditSet:
        measurement = self.plan.measurement
        ratios = [1 / a for a in measurement.accelerations]
        scenarios = (self.samplers, ratios, measurement.noise_std)
        return AuditSet.of(self.images, *scenarios, self.generator, self.patients)


def chosen_rows(rows: np.ndarray) -> np.ndarray:
    """At most ``MAX_IMAGES`` of ``rows``, evenly spaced."""
    return rows[np.linspace(0, len(rows) - 1, min(MAX_IMAGES, len(rows))).astype(int)]
