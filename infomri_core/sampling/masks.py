"""From sampling probabilities to binary masks that keep the budget exactly."""

from typing import Literal

import torch

from infomri_core.randomness.draws import Randomness, device_of, integers, permutations, uniform
from infomri_core.sampling.policy import Constraint
from infomri_core.system.errors import InputError

Method = Literal["systematic", "rejection"]

_ONE = 1 << 40
"""Probability one in fixed point: sums of up to 2^22 points stay exact in int64."""
_SNAP = 1e-6
_BATCH = 1 << 22
_MAX_DRAWS = 20_000


def draw_masks(
    probabilities: torch.Tensor,
    n_masks: int,
    constraint: Constraint = "2d",
    method: Method = "systematic",
    generator: Randomness = None,
) -> torch.Tensor:
    """Draw independent masks.

    Every mask samples floor or ceil of the sum of the probabilities, exactly that sum where it
    is a whole number up to rounding (1e-6 relative).

    Args:
        probabilities: (H, W) in [0, 1].
        n_masks: 1 or more.
        constraint: The units drawn and counted, points ("2d") or whole columns ("1d", where all
            rows of ``probabilities`` must be equal).
        method: ``systematic`` is randomised systematic sampling in a fresh random order for every
            mask (Goodman and Kish, 1950), where each unit is sampled with exactly its
            probability. ``rejection`` repeats independent draws until the count fits (InfoMRI,
            Algorithm 1), which shifts the probabilities slightly.
        generator: May sit on another device; None is torch's own.

    Returns:
        Float (n_masks, H, W) of zeros and ones on the probabilities' device; when they require
        grad, with a straight-through gradient to them.

    Raises:
        InputError: Probabilities outside [0, 1], or a budget that rejection cannot meet.
    """
    units = _units(probabilities, n_masks, constraint)
    if method == "systematic":
        drawn = _systematic(units, n_masks, generator)
    elif method == "rejection":
        drawn = _rejection(units, n_masks, generator)
    else:
        raise InputError("draw_masks: method", "systematic or rejection", method, "choose one")
    rows, columns = probabilities.shape
    grid = (n_masks, -1, columns)
    masks = drawn.reshape(grid).to(probabilities).expand(n_masks, rows, columns)
    if probabilities.requires_grad:
        return masks + (probabilities - probabilities.detach())
    return masks.contiguous()


def draw_counts(
    probabilities: torch.Tensor, counts: torch.Tensor, generator: Randomness = None
) -> torch.Tensor:
    """One systematic draw for each row of probabilities.

    Args:
        probabilities: (B, n) in [0, 1]; each row adds up to its whole number in ``counts``.
        counts: (B,), how many units each row samples.

    Returns:
        Float64 (B, n) of zeros and ones, each unit sampled with its probability, with a
        straight-through gradient where the probabilities have one.
    """
    p = probabilities.detach().double().clamp(0, 1)
    fixed = (p * _ONE).round().long()
    rest = counts.to(p.device) * _ONE - fixed.sum(1)
    fixed.scatter_add_(1, (p - 0.5).abs().argmin(1, keepdim=True), rest[:, None])
    device = device_of(generator, p.device)
    order = permutations(generator, p.shape[0], p.shape[1], device).to(p.device)
    start = integers(generator, _ONE, (len(p), 1), device).to(p.device)
    drawn = _passed(fixed.gather(1, order), order, start).double()
    return drawn + (probabilities - probabilities.detach())


def _units(probabilities: torch.Tensor, n_masks: int, constraint: Constraint) -> torch.Tensor:
    """Checks the input; the probabilities (n,) of the units that are drawn whole, float64."""
    p = probabilities.detach()
    if p.ndim != 2 or n_masks < 1:
        got = f"{tuple(p.shape)} and n_masks={n_masks}"
        raise InputError("draw_masks", "probabilities (H, W) and n_masks >= 1", got, "reshape")
    if not bool(((p >= -_SNAP) & (p <= 1 + _SNAP)).all()):
        got = f"values from {float(p.min()):.4g} to {float(p.max()):.4g}"
        raise InputError("draw_masks: probabilities", "values in [0, 1]", got, "rescale() them")
    if constraint not in ("2d", "1d"):
        raise InputError("draw_masks: constraint", "2d or 1d", str(constraint), "choose one")
    if constraint == "1d":
        if not bool(((p - p[:1]).abs() <= _SNAP).all()):
            raise InputError(
                "draw_masks: probabilities",
                "equal rows for constraint '1d'",
                "rows that differ",
                "use a policy with the same constraint",
            )
        p = p[0]
    return p.double().clamp(0, 1).flatten()


def _whole_budget(units: torch.Tensor) -> int | None:
    """The sum of the probabilities where it is a whole number up to rounding, else None."""
    total = float(units.sum())
    return round(total) if abs(total - round(total)) <= _SNAP * max(1.0, total) else None


def _fixed_point(units: torch.Tensor) -> torch.Tensor:
    """Probabilities in units of 2^-40, int64; a budget that is whole up to rounding is made so.

    Integers make each mask's count exact: no floating-point sum can round across a whole number.
    The correction falls on probabilities strictly between zero and one only.
    """
    budget = _whole_budget(units)
    if budget is not None:
        room = units * (1 - units)
        units = units + room * ((budget - units.sum()) / room.sum().clamp(min=1e-300))
    fixed = (units * _ONE).round().long().clamp(0, _ONE)
    if budget is not None:
        residual = budget * _ONE - fixed.sum()
        fixed[(units - 0.5).abs().argmin()] += residual
    return fixed.clamp(0, _ONE)


def _systematic(units: torch.Tensor, n_masks: int, generator: Randomness) -> torch.Tensor:
    """Steps of length one from a random start along the cumulative sum, in random order."""
    device = device_of(generator, units.device)
    fixed, n = _fixed_point(units).to(device), len(units)
    order = permutations(generator, n_masks, n, device)
    start = integers(generator, _ONE, (n_masks, 1), device)
    return _passed(fixed.index_select(0, order.flatten()).view(n_masks, n), order, start)


def _passed(steps: torch.Tensor, order: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """Which units (n_masks, n) a whole number falls on, ``steps`` being in each mask's ``order``:
    a step has passed one where it ends less than its own length beyond it."""
    chosen = steps.cumsum(1).add_(start).bitwise_and_(_ONE - 1) < steps
    return torch.zeros_like(chosen).scatter_(1, order, chosen)


def _rejection(units: torch.Tensor, n_masks: int, generator: Randomness) -> torch.Tensor:
    """Independent draws whose count is within one of the budget."""
    kept = accepted_uniforms(units, n_masks, generator)
    return kept < units.to(kept)


def accepted_uniforms(
    units: torch.Tensor, n_masks: int, generator: Randomness = None
) -> torch.Tensor:
    """Uniform numbers u (n_masks, n) of the masks 1[u < p] that rejection keeps: drawn in batches
    until enough have a count within one of the budget.

    Args:
        units: Probabilities p (n,) in [0, 1], float64.
        n_masks: How many masks.
        generator: May sit on another device; None is torch's own.

    Raises:
        InputError: Too few masks keep the budget.
    """
    device = device_of(generator, units.device)
    p, n = units.to(device, torch.float32), len(units)
    whole = _whole_budget(units)
    budget = float(units.sum()) if whole is None else float(whole)
    kept: list[torch.Tensor] = []
    n_batch = max(1, min(8 * n_masks + 64, _BATCH // n))
    n_kept, n_drawn = 0, 0
    while n_kept < n_masks and n_drawn < _MAX_DRAWS * n_masks:
        drawn = uniform(generator, (n_batch, n), device)
        accepted = drawn[((drawn < p).sum(1) - budget).abs() < 1]
        kept.append(accepted)
        n_kept, n_drawn = n_kept + len(accepted), n_drawn + n_batch
    if n_kept < n_masks:
        raise InputError(
            "draw_masks: method 'rejection'",
            f"{n_masks} masks with {budget:.6g} samples each",
            f"{n_kept} in {n_drawn} draws",
            "use method 'systematic'",
        )
    return torch.cat(kept)[:n_masks]
