"""DP-SGD for network and sampling policy together (Abadi et al. 2016)."""

from collections.abc import Callable, Sequence
from typing import cast, final

import numpy as np
import torch
from torch import nn

from infomri_core.arms.sampled_model import LossTerms, SampledModel
from infomri_core.dp.accounting import PoissonSampling
from infomri_core.dp.lattice import Lattice
from infomri_core.dp.per_sample import (
    Gradients,
    policy_gradients,
    recorded,
    squares,
    weighted_sum,
)
from infomri_core.plan.plan import Plan, Privacy
from infomri_core.randomness.secret_stream import SecretStream
from infomri_core.sampling import mask_sampler
from infomri_core.sampling.sampler import MaskDistribution
from infomri_core.suppression.base import Penalty, of_masks
from infomri_core.system.errors import InputError
from infomri_core.training.fit import Fetch

MARGIN = 2.0**-8
"""Share of the clip by which both sums, with a unit and without it, may be wrong together; the
noise is wider by as much. Twice :func:`~infomri_core.dp.per_sample.sum_error` of the up to 16,000
samples drawn in a step stays below."""

Canaries = Callable[[np.ndarray, float, Gradients], np.ndarray]
"""Adds the gradients, clipped, of those rows that are an audit's canaries; returns the others."""


@final
class PrivateGradients:
    """The gradient of one step of DP-SGD, written into a model.

    Every unit (a patient, or a slice) is drawn by itself with the same probability (Poisson); a
    patient gives one random slice. The gradients of all parameters, network and policy, that a
    unit's losses cause are clipped together to norm ``clip``; their sum is rounded to a
    lattice and gets discrete Gaussian noise of ``noise_multiplier`` sensitivities
    (``Lattice``), then ``lot`` times the mean gradient of beta H (beta > 0) over ``lot``
    masks of no sample; all of it is divided by the plan's constant ``lot``, never by the number
    drawn. A step that draws no one is noise and entropy alone.

    Guarantee: each call is one Poisson-subsampled Gaussian mechanism under adding or removing a
    unit, whatever weights, V and beta it was asked for: norms are never too small, and the
    clipped sum, in float64, is right to ``MARGIN`` of the clip. The entropy needs V, which is of
    other people, and masks of its own: how many units were drawn cannot be read from it. A sample
    whose gradient is not finite adds nothing.

    Args:
        units: The indices that ``fetch`` takes, of each unit.
        fetch: Gives images (B, H, W) and targets (B, ...) for indices.
        stream: Secret, and never used again: it draws who takes part, masks and noise.
        canaries: In an audit, of some units, whose indices ``fetch`` never sees.
    """

    def __init__(
        self,
        plan: Plan,
        suppression: Penalty,
        units: Sequence[np.ndarray],
        fetch: Fetch,
        stream: SecretStream,
        canaries: Canaries | None = None,
    ) -> None:
        self._plan = plan
        self._privacy = private(plan)
        self._suppression = of_masks(suppression)
        self._units = units
        self._fetch = fetch
        self._stream = stream
        self._canaries = canaries
        self._sampling = PoissonSampling(self._privacy.rate)

    def __call__(self, model: SampledModel, beta: float) -> LossTerms:
        """Write the gradient at ``beta``.

        Returns:
            The task's means over those drawn, exact and so outside epsilon, and the entropy of the
            data-free masks.
        """
        low, high = self._plan.measurement.ratio_range
        ratio = low + (high - low) * float(self._stream.uniform())
        masks = mask_sampler(model.sampler).at(ratio)
        policy = [p for p in model.sampler.parameters() if p.requires_grad]
        parameters = (*policy, *model.network.parameters())
        total = {p: torch.zeros_like(p, dtype=torch.float64) for p in parameters}
        drawn = self.draw()
        losses = dict.fromkeys(model.task.loss_terms, 0.0)
        if self._canaries is not None:
            drawn = self._canaries(drawn, self._privacy.clip, total)
        for batch in _parts(drawn, self._plan.training.batch_size):
            found = self._add(model, masks, policy, batch, beta, total)
            for name, value in found.items():
                losses[name] += value
        self._noise(total)
        entropy = self._entropy(masks, policy, beta, total)
        for parameter, gradient in total.items():
            parameter.grad = (gradient / self._privacy.lot).to(parameter.dtype)
        means = {n: entropy.new_tensor(v / max(1, len(drawn))) for n, v in losses.items()}
        return LossTerms(model.task, means, entropy)

    def _noise(self, total: Gradients) -> None:
        """Put the clipped sum and its noise on the lattice."""
        n_values = sum(p.numel() for p in total)
        rules = self._privacy
        lattice = Lattice(rules.clip, rules.noise_multiplier, n_values, MARGIN)
        for parameter, gradient in total.items():
            total[parameter] = lattice.noised(gradient, self._stream)

    def draw(self) -> np.ndarray:
        """Indices for ``fetch`` of those who take part in a step: each unit by itself."""
        chosen = [
            self._units[unit] for unit in self._sampling.draw(len(self._units), self._stream)
        ]
        return np.array(
            [rows[self._stream.integers(len(rows))] for rows in chosen], dtype=np.int64
        )

    def _add(
        self,
        model: SampledModel,
        distribution: MaskDistribution,
        policy: list[nn.Parameter],
        batch: np.ndarray,
        beta: float,
        total: Gradients,
    ) -> dict[str, float]:
        """Add the clipped gradients of a batch to ``total``; returns the sums of its losses."""
        images, targets = self._fetch(batch)
        if self._plan.training.flips and bool(self._stream.bernoulli(0.5)):
            images, targets = model.task.augment(images, targets)
        masks = distribution.draw(len(batch), self._stream).detach()
        measured = model.measure(images, torch.ones_like(masks), self._stream)
        probabilities = distribution.probability if policy else None
        given = (masks, measured, targets, beta, self._privacy.clip, total, images)
        drawn = model.draw_for(images, self._stream)
        return add_clipped(model, probabilities, policy, *given, drawn)

    def _entropy(
        self,
        distribution: MaskDistribution,
        policy: list[nn.Parameter],
        beta: float,
        total: Gradients,
    ) -> torch.Tensor:
        """Add the sum over ``lot`` masks of beta grad H; returns their mean H (nats)."""
        lot = self._privacy.lot
        masks = distribution.draw(lot, self._stream)
        figure = self._suppression.mean(masks)
        if beta > 0 and policy:
            found = torch.autograd.grad(beta * lot * figure, policy)
            for parameter, gradient in zip(policy, found):
                total[parameter] += gradient
        return figure.detach()


def add_clipped(
    model: SampledModel,
    probabilities: torch.Tensor | None,
    policy: list[nn.Parameter],
    masks: torch.Tensor,
    kspace: torch.Tensor,
    targets: torch.Tensor,
    beta: float,
    clip: float,
    total: Gradients,
    images: torch.Tensor | None = None,
    drawn: torch.Tensor | None = None,
) -> dict[str, float]:
    """Add sum_i g_i min(1, clip / |g_i|) to ``total``.

    g_i is the gradient, to all parameters of network and ``policy``, of the sum of sample i's
    losses as they weigh at ``beta``: of it alone, whoever else takes part. Samples whose gradient
    is not finite are left out.

    Args:
        probabilities: That ``masks`` were drawn from, with their graph, which is kept; needed with
            a ``policy`` only.
        policy: Parameters of the sampler; empty where it does not learn.
        masks: (B, H, W) of zeros and ones.
        kspace: Noisy, complex (B, H, W).
        targets: (B, ...).
        clip: The norm that each g_i is clipped to.
        total: Sums by parameter, float64.
        images: (B, H, W), where the task asks for them.
        drawn: (B, n), what the task's training draws for each sample.

    Returns:
        Sums of the samples' losses, by term.
    """
    if drawn is None:
        drawn = masks.new_empty(len(masks), model.task.n_drawn(model.network))
    masks = masks.detach().requires_grad_(bool(policy))
    with recorded(model.network) as layers:
        output = model.training_output(masks * kspace, masks, images, targets, drawn)
        losses = model.task.losses(output, targets)
        model.task.objective(losses, beta).sum().backward()
    norms = torch.stack([layer.squared_norms() for layer in layers]).sum(0)
    found: list[torch.Tensor] = []
    if policy and probabilities is not None:
        found = policy_gradients(probabilities, policy, cast(torch.Tensor, masks.grad))
        norms = norms + torch.stack([squares(g) for g in found]).sum(0)
    finite = torch.isfinite(norms)
    if not bool(finite.all()):
        rest = (masks[finite], kspace[finite], targets[finite])
        if not len(rest[0]):
            return dict.fromkeys(losses, 0.0)
        kept = None if images is None else images[finite]
        given = (*rest, beta, clip, total, kept, drawn[finite])
        return add_clipped(model, probabilities, policy, *given)
    weights = clip_weights(norms, clip)
    for layer in layers:
        for parameter, gradient in layer.weighted(weights).items():
            total[parameter] += gradient
    for parameter, gradients in zip(policy, found):
        total[parameter] += weighted_sum(weights, gradients)
    return {name: float(loss.detach().sum()) for name, loss in losses.items()}


def clip_weights(squared_norms: torch.Tensor, clip: float) -> torch.Tensor:
    """min(1, clip / |g|) of gradients g.

    Args:
        squared_norms: |g|^2, (B,).
    """
    return clip / squared_norms.sqrt().clamp(min=clip)


def units_of(plan: Plan, patients: np.ndarray) -> list[np.ndarray]:
    """What is protected: of each patient, or of each slice, its rows.

    Args:
        patients: (n,), of each row.
    """
    if private(plan).unit == "slice":
        return list(np.arange(len(patients))[:, None])
    owner = np.unique(patients, return_inverse=True)[1]
    return np.split(np.argsort(owner, kind="stable"), np.cumsum(np.bincount(owner))[:-1])


def private(plan: Plan) -> Privacy:
    """The plan's ``[privacy]``.

    Raises:
        InputError: There is none.
    """
    if plan.privacy is None:
        raise InputError("plan", "a section [privacy]", "none", "add it")
    return plan.privacy


def _parts(rows: np.ndarray, size: int) -> list[np.ndarray]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]
