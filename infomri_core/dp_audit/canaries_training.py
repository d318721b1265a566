"""The one-run audit of DP, end to end: DP-SGD with inserted canaries, and what they prove.

The training is the sites' own: the same loop, Poisson draw, clipping and noise. Each canary is a
unit of its own whose gradient lies along one coordinate of the network's parameters, ten times
longer than the clip: in white-box audits the strongest canary known (Nasr et al. 2023; Steinke,
Nasr and Jagielski 2023, section 6), as canaries neither disturb each other nor the training. The
auditor sees what the guarantee is about: every noisy gradient.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from infomri_core.arms.build import build_model
from infomri_core.arms.sampled_model import LossTerms, SampledModel
from infomri_core.dp.accounting import epsilon
from infomri_core.dp.dp import PrivateGradients, clip_weights, private, units_of
from infomri_core.dp.per_sample import Gradients
from infomri_core.dp_audit.canaries import Guesses, best_bound
from infomri_core.fitting.loop import Stretch
from infomri_core.plan.plan import Arm, Plan, Privacy
from infomri_core.randomness.secret_stream import SecretStream
from infomri_core.randomness.seeds import numpy_generator
from infomri_core.suppression.factors import audit_suppression
from infomri_core.system.errors import Cancelled
from infomri_core.training.fit import train_steps

N_CANARIES = 500
NORM_IN_CLIPS = 10.0
CONTROL_NOISE = 0.01
CONTROL_DRAWS = 8


@final
class DiracCanaries:
    """Canaries at the indices from ``first`` on, the coins that put each in or left it out, and a
    score of each from all noisy gradients.

    The score is the sum over steps of log(1 - q + q exp((x - 1/2) / sigma^2)), x the noisy
    gradient at the canary's coordinate in clips: the likelihood ratio of in and out, were the
    data's own gradients zero there.
    """

    def __init__(
        self,
        model: SampledModel,
        first: int,
        n_canaries: int,
        privacy: Privacy,
        rate: float,
        generator: np.random.Generator,
    ) -> None:
        self._parameters: list[nn.Parameter] = list(model.network.parameters())
        size = sum(p.numel() for p in self._parameters)
        self._places = torch.from_numpy(generator.choice(size, n_canaries, replace=False))
        self._size, self._first = size, first
        self._privacy, self._rate = privacy, rate
        self.inserted = generator.random(n_canaries) < 0.5
        self.scores = np.zeros(n_canaries)
        self.n_steps = 0

    def add(self, rows: np.ndarray, clip: float, total: Gradients) -> np.ndarray:
        """Add the clipped gradients of the canaries among ``rows`` that are in; the other rows."""
        drawn = rows[rows >= self._first] - self._first
        drawn = drawn[self.inserted[drawn]]
        device = self._parameters[0].device
        norms = torch.full((len(drawn),), NORM_IN_CLIPS * clip, device=device)
        flat = torch.zeros(self._size, device=device)
        flat[self._places[drawn].to(device)] = norms * clip_weights(norms.square(), clip)
        for p, part in zip(self._parameters, flat.split([p.numel() for p in self._parameters])):
            total[p] += part.view_as(p)
        return rows[rows < self._first]

    def watch(self) -> None:
        """Take the noisy gradient that stands in the model into the scores."""
        gradients = torch.cat([_gradient(p).flatten() for p in self._parameters])
        x = gradients[self._places.to(gradients.device)].double().cpu().numpy()
        x *= self._privacy.lot / self._privacy.clip
        evidence = (x - 0.5) / self._privacy.noise_multiplier**2
        q = self._rate
        stay = np.log1p(-q) if q < 1 else -np.inf
        self.scores += np.logaddexp(stay, np.log(q) + evidence)
        self.n_steps += 1


def audit_dp(
    plan: Plan,
    arm: Arm,
    images: Tensor,
    targets: Tensor,
    patients: np.ndarray,
    variance: Tensor,
    seed: int,
    study_epsilon: float | None = None,
    n_canaries: int = N_CANARIES,
    cancelled: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """What the plan's DP-SGD on ``images`` (n, H, W) gives away, as JSON: the empirical lower
    bound on epsilon beside the accounted epsilon of the same training, at the same delta.

    ``arm`` is trained for as many steps as all arms of the study together, with the plan's noise
    sampling rate and clip; ``study_epsilon`` is what the sites said it spent. The
    control repeats a part of it with hardly any noise: an audit that finds nothing there would
    find nothing anywhere. Stops at the step in which ``cancelled``; the accounted epsilon is
    of the steps made.
    """
    asked = private(plan)
    n_steps = plan.total_steps * len(plan.arms)
    units = units_of(plan, patients)
    shared = (arm, images, targets, units, variance, n_canaries, (seed, "dp-audit"))
    steps_of_control = min(n_steps, int(np.ceil(CONTROL_DRAWS / asked.rate)))
    quiet = replace(asked, noise_multiplier=CONTROL_NOISE)
    control = _audited(_with(plan, quiet), *shared, steps_of_control, cancelled)
    found = _audited(plan, *shared, n_steps, cancelled)
    spent = [(asked.noise_multiplier, found["sampling_rate"], found["steps"])]
    accounted = epsilon(spent, asked.delta)
    return {
        "arm": arm.name,
        "unit": asked.unit,
        "delta": asked.delta,
        "noise_multiplier": asked.noise_multiplier,
        "clip": asked.clip,
        **found,
        "epsilon_accounted": accounted if np.isfinite(accounted) else None,
        "steps_of_the_study": n_steps,
        "epsilon_of_the_study": study_epsilon,
        "control": control | {"noise_multiplier": CONTROL_NOISE},
    }


def _audited(
    plan: Plan,
    arm: Arm,
    images: Tensor,
    targets: Tensor,
    units: Sequence[np.ndarray],
    variance: Tensor,
    n_canaries: int,
    stream: tuple[str | int, ...],
    n_steps: int,
    cancelled: Callable[[], bool],
) -> dict[str, Any]:
    """Train once with canaries: the bound, the sampling rate and the steps made."""
    model = build_model(plan, arm, variance).to(images.device)
    privacy, n = private(plan), len(images)
    everyone = [*units, *(np.array([n + k]) for k in range(n_canaries))]
    rate = privacy.rate
    coins = numpy_generator(*stream, "coins")
    canaries = DiracCanaries(model, n, n_canaries, privacy, rate, coins)

    def fetch(rows: np.ndarray) -> tuple[Tensor, Tensor]:
        chosen = torch.from_numpy(rows)
        return images[chosen], targets[chosen]

    noise = SecretStream.public(*stream, "noise")
    noise_std = plan.measurement.noise_std
    penalty = audit_suppression(arm.suppression, images, variance, noise_std)
    inner = PrivateGradients(plan, penalty, everyone, fetch, noise, canaries.add)

    def gradients(model: SampledModel, beta: float) -> LossTerms:
        terms = inner(model, beta)
        canaries.watch()
        return terms

    stretch = Stretch(0, n_steps, n_steps, stream)
    try:
        train_steps(
            *(model, plan, arm.beta, penalty, n, fetch, stretch, None, cancelled, gradients)
        )
    except Cancelled:
        if not canaries.n_steps:
            raise
    bound, guesses = best_bound(canaries.scores, canaries.inserted, privacy.delta)
    return {
        "epsilon_lower_bound": bound,
        **_counted(guesses, privacy.delta),
        "sampling_rate": rate,
        "steps": canaries.n_steps,
    }


def _counted(guesses: Guesses, delta: float) -> dict[str, Any]:
    n = guesses.n_canaries
    perfect = np.arange(n) < n // 2
    evident = np.where(perfect, 1.0, -1.0)
    return {
        "canaries": n,
        "guesses": guesses.n_made,
        "guesses_right": guesses.n_right,
        "largest_provable": best_bound(evident, perfect, delta)[0],
    }


def _with(plan: Plan, privacy: Privacy) -> Plan:
    """The plan with other settings of DP; its text stays the study's."""
    return replace(plan, privacy=privacy)


def _gradient(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad
