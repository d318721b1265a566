"""Variable-density Poisson disk: random points that keep a distance, wider off the centre."""

import functools
import math

import torch
from torch.nn.functional import max_pool2d

from infomri_core.randomness.draws import Randomness, permutations
from infomri_core.randomness.seeds import torch_generator
from infomri_core.system.errors import InputError

_STEPS = 9
_STEEPEST = 6.0
_AN_OCTAVE = 16
_CPU = torch.device("cpu")


def poisson_disk_mask(
    shape: tuple[int, int], n_points: int, generator: Randomness = None
) -> torch.Tensor:
    """A bool mask (H, W) of exactly ``n_points``.

    Points are tried in random order; one is taken unless a point taken before lies within its
    radius (in the maximum norm), which grows linearly from none at the zero frequency. The slope
    is found once for the nearest of counts 4 % apart, by bisection on one order of a fixed seed;
    what a mask then has too many is dropped at random, what it has too few added. Raises
    ``InputError`` for a count outside 1 .. H x W.
    """
    size = math.prod(shape)
    if not 1 <= n_points <= size:
        raise InputError("poisson disk: points", f"1 to {size}", f"{n_points}", "choose another")
    order = permutations(generator, 1, size, _CPU)[0]
    near = round(2 ** (round(math.log2(n_points) * _AN_OCTAVE) / _AN_OCTAVE))
    mask = _taken(order, shape, _slope(shape, near)).flatten()
    # Taken points first, in an order that is random for both: the first n are kept.
    again = permutations(generator, 1, size, _CPU)[0]
    kept = again[mask[again].long().sort(descending=True, stable=True).indices[:n_points]]
    chosen = torch.zeros(size, dtype=torch.bool)
    chosen[kept] = True
    return chosen.view(shape)


@functools.lru_cache(maxsize=256)
def _slope(shape: tuple[int, int], n_points: int) -> float:
    """The growth of the radius, in points over the distance to the corner, with that count."""
    order = permutations(torch_generator("poisson disk", *shape), 1, math.prod(shape), _CPU)[0]
    low, high = 0.0, _STEEPEST * (math.prod(shape) / n_points) ** 0.5
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if int(_taken(order, shape, middle).sum()) >= n_points:
            low = middle
        else:
            high = middle
    return low


def _taken(order: torch.Tensor, shape: tuple[int, int], slope: float) -> torch.Tensor:
    """What the points tried in ``order`` (H x W,) leave taken: the sequential rule, decided for
    all points at once whose earlier neighbours are decided."""
    rank = torch.empty(len(order))
    # Earlier is higher, and above zero.
    rank[order] = torch.arange(len(order), 0, -1, dtype=torch.float32)
    rank = rank.view(shape)
    rows, columns = ((torch.arange(n) - n // 2) / max(n // 2, 1) for n in shape)
    radius = (slope * torch.hypot(rows[:, None], columns[None, :]) / 2**0.5).floor().long()
    taken, open_ = torch.zeros(shape, dtype=torch.bool), torch.ones(shape, dtype=torch.bool)
    while bool(open_.any()):
        before = _highest(torch.where(taken, rank, 0), radius)
        open_ &= before <= rank
        first = open_ & (_highest(torch.where(open_, rank, 0), radius) <= rank)
        taken |= first
        open_ &= ~first
    return taken


def _highest(values: torch.Tensor, radius: torch.Tensor) -> torch.Tensor:
    """The highest of ``values`` (H, W) within each point's ``radius``."""
    found = values.clone()
    for r in radius.unique().tolist():
        if r > 0:
            rows = max_pool2d(values[None], (2 * r + 1, 1), 1, (r, 0))
            found = torch.where(radius == r, max_pool2d(rows, (1, 2 * r + 1), 1, (0, r))[0], found)
    return found
