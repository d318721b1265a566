"""Training: some optimizer steps of one arm on one data set."""

import math
from collections.abc import Callable

import numpy as np
import torch

from infomri_core.arms.sampled_model import LossTerms, SampledModel
from infomri_core.fitting.loop import Diverged, Stretch, descend
from infomri_core.plan.plan import Plan
from infomri_core.randomness.seeds import numpy_generator, torch_generator
from infomri_core.suppression.base import Penalty
from infomri_core.training.proximal import Proximal

OptimizerState = dict[str, np.ndarray]
Fetch = Callable[[np.ndarray], tuple[torch.Tensor, torch.Tensor]]
Gradients = Callable[[SampledModel, float], LossTerms]
"""Puts the gradient of one step, at the beta given, into a model, and says the loss terms."""


def site_stream(plan: Plan, site: str, arm_seed: int, round_number: int) -> tuple[str | int, ...]:
    """The name of the stream that one site trains by in one round, for ``Stretch``.

    Under secure aggregation the study's name is part of it: two studies of one seed would
    otherwise train alike, and their sums over different sites give a site's update by
    subtraction. Without masks each update is seen anyway, and streams stay as they were.
    """
    stream = (plan.study.seed, site, arm_seed, round_number)
    return (plan.study.name, *stream) if plan.aggregation.secure else stream


def site_stretch(plan: Plan, site: str, arm_seed: int, round_number: int) -> Stretch:
    """The steps of one round at one site, of all that an arm takes there."""
    steps, stream = plan.training.local_steps, site_stream(plan, site, arm_seed, round_number)
    return Stretch((round_number - 1) * steps, steps, plan.total_steps, stream)


def beta_factor(step: int, total: int, warmup: float) -> float:
    """Zero for a share of all steps, then a linear rise to one of the same length.

    Args:
        step: Of ``total``, from 0.
        warmup: That share, in [0, 1].
    """
    if warmup == 0:
        return 1.0
    return min(1.0, max(0.0, step / total - warmup) / warmup)


def beta_at(beta: float, step: int, total: int, warmup: float) -> float:
    """``beta`` after its warm-up; that of the image alone has none, there is no other term."""
    return beta if math.isinf(beta) else beta * beta_factor(step, total, warmup)


def make_optimizer(model: SampledModel, plan: Plan) -> torch.optim.Adam:
    """Adam, all of a step in one pass (``fused``), with the network's and the sampler's rates."""
    groups = [
        {"params": list(part.parameters()), "base": rate}
        for part, rate in zip((model.network, model.sampler), plan.learning_rates)
    ]
    groups = [g for g in groups if g["params"]]
    return torch.optim.Adam(groups, lr=plan.learning_rates[0], fused=True)


def train_steps(
    model: SampledModel,
    plan: Plan,
    beta: float,
    suppression: Penalty,
    n_slices: int,
    fetch: Fetch,
    stretch: Stretch,
    state: OptimizerState | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    gradients: Gradients | None = None,
) -> tuple[dict[str, float], OptimizerState]:
    """Train ``model`` in place.

    Args:
        beta: Of the arm, after its warm-up.
        n_slices: How many there are.
        fetch: Gives images (B, H, W) and targets (B, ...) for indices below ``n_slices``.
        stretch: Which steps of the whole schedule to take, and the stream of their random numbers.
        state: Adam's, of the steps before; None begins afresh.
        cancelled: Asked between two steps.
        gradients: Makes the gradient of each step; by default ``plain_gradients``.

    Returns:
        The mean loss terms, and Adam's state.

    Raises:
        Cancelled: Between two steps.
        Diverged: The loss is not finite.
    """
    if gradients is None:
        gradients = plain_gradients(plan, suppression, n_slices, fetch, stretch.stream)
    optimizer = make_optimizer(model, plan)
    if state is not None:
        load_optimizer(optimizer, state)
    proximal = Proximal(model.parameters(), plan.aggregation.proximal_weight)
    names = model.task.reported_terms
    sums = torch.zeros(len(names), device=suppression.device)
    warmup = plan.training.beta_warmup

    def gradient(step: int) -> LossTerms:
        model.sampler.progress(step / stretch.total)
        terms = gradients(model, beta_at(beta, step, stretch.total, warmup))
        proximal.add_gradient()
        return terms

    model.train()
    for _, terms in descend(optimizer, stretch, gradient, cancelled):
        sums += torch.stack(list(terms.detached().values()))
    means = (sums / stretch.n_steps).tolist()
    return dict(zip(names, means, strict=True)), dump_optimizer(optimizer)


def plain_gradients(
    plan: Plan,
    suppression: Penalty,
    n_slices: int,
    fetch: Fetch,
    stream: tuple[str | int, ...],
) -> Gradients:
    """The gradient of the objective over a batch of distinct slices: one ratio a step, one mask a
    sample. The arguments are those of ``train_steps``.

    Raises:
        Diverged: The loss is not finite.
    """
    order = numpy_generator(*stream, "batches")
    generator = torch_generator(*stream, "masks", device=suppression.device)
    low, high = plan.measurement.ratio_range
    size = min(plan.training.batch_size, n_slices)

    def gradients(model: SampledModel, beta: float) -> LossTerms:
        images, targets = fetch(order.choice(n_slices, size, replace=False))
        if plan.training.flips and order.random() < 0.5:
            images, targets = model.task.augment(images, targets)
        terms = model.loss(images, targets, order.uniform(low, high), suppression, generator)
        loss = terms.total(beta)
        if not torch.isfinite(loss):
            raise Diverged(", ".join(terms.unsound()) or "their sum")
        loss.backward()
        return terms

    return gradients


def dump_optimizer(optimizer: torch.optim.Adam) -> OptimizerState:
    """Adam's moments and step count as plain arrays. Moments of parameters that had no gradient so
    far are zero: an arm that asks for images has none for these while beta rises from zero."""
    parameters = [p for g in optimizer.param_groups for p in g["params"]]
    steps = [float(slot["step"]) for p in parameters if (slot := optimizer.state.get(p))]
    if not steps:
        return {"step": np.zeros(1, np.float32)}

    def moments(name: str) -> np.ndarray:
        none: dict[str, torch.Tensor] = {}
        found = [
            optimizer.state.get(p, none).get(name, torch.zeros_like(p)).reshape(-1)
            for p in parameters
        ]
        return torch.cat(found).detach().cpu().numpy()

    return {
        "step": np.array([max(steps)], np.float32),
        "mean": moments("exp_avg"),
        "square": moments("exp_avg_sq"),
    }


def load_optimizer(optimizer: torch.optim.Adam, state: OptimizerState) -> None:
    """Restore what ``dump_optimizer`` gave, for the same model."""
    if "mean" not in state:
        return
    parameters = [p for g in optimizer.param_groups for p in g["params"]]
    sizes = [p.numel() for p in parameters]
    means = torch.from_numpy(state["mean"].copy()).split(sizes)
    squares = torch.from_numpy(state["square"].copy()).split(sizes)
    for parameter, mean, square in zip(parameters, means, squares):
        optimizer.state[parameter] = {
            "step": torch.tensor(float(state["step"][0]), device=parameter.device),
            "exp_avg": mean.view_as(parameter).to(parameter.device),
            "exp_avg_sq": square.view_as(parameter).to(parameter.device),
        }
