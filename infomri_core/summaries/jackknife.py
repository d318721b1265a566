"""Intervals from a few groups of patients: the delete-a-group jackknife.

A site tells sums over groups of patients, never over one. The study centre leaves out one group
after the other; how much a figure moves is its uncertainty. No torch here: the process without
data reads these intervals too.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
LEVEL = 0.95
_TINY = 1e-9


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval; ``n_groups`` groups of patients stand behind it, None where
    it was made by another way.

    ``value`` None: undefined. ``low`` and ``high`` None: no interval, as fewer than two groups
    stand behind it, or the groups do not differ.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n_groups: int | None = None


def conservative_difference(a: Estimate, b: Estimate) -> Estimate:
    """``b`` less ``a`` where nothing is known of how their errors go together: the interval from
    the ends that lie farthest apart. sd(b - a) <= sd(a) + sd(b) whatever the correlation, so it
    covers as often as the two do or more. None where either is undefined."""
    if a.value is None or b.value is None:
        return Estimate(None)
    value = b.value - a.value
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return Estimate(value)
    wider_low = (b.value - b.low) + (a.high - a.value)
    return Estimate(value, value - wider_low, value + (b.high - b.value) + (a.value - a.low))


def estimate(
    value: float,
    left_out: Floats,
    weights: npt.NDArray[Any],
    within: tuple[float, float] | None = None,
) -> Estimate:
    """``value`` of all groups, with the interval by ``left_out`` (G,), the same without group g.

    The variance is that of the delete-a-group jackknife for groups of unequal ``weights`` (G,)
    (Busing, Meijer, van der Leeden 1999, "Delete-m jackknife for unequal m"); the interval takes
    Student's t with one degree of freedom less than there are groups. With ``within`` the interval
    is made in the logit of the figure's place between those ends, by the delta method, and stays
    inside them: untransformed it covers an AUROC of .96 from four groups of five patients in 85 %
    of studies, so in 97 %. No interval where fewer than two groups have weight, ``left_out`` is
    not finite, or nothing differs.
    """
    from scipy.special import stdtrit  # Half of a small process's start, and a site needs none.

    kept = weights > 0
    n_groups = int(kept.sum())
    bare = Estimate(value, n_groups=n_groups)
    if n_groups < 2 or not np.isfinite(left_out[kept]).all():
        return bare
    w, without = weights[kept], left_out[kept]
    share = w / w.sum()
    pseudo = (value - (1 - share) * without) / share
    centre = n_groups * value - ((1 - share) * without).sum()
    variance = float((share / (1 - share) * (pseudo - centre) ** 2).mean())
    reach = float(stdtrit(n_groups - 1, (1 + LEVEL) / 2)) * variance**0.5
    if not _TINY * max(1.0, abs(value)) < reach < np.inf:
        return bare
    low, high = _ends(value, reach, within)
    return bare if low is None else Estimate(value, low, high, n_groups)


def _ends(
    value: float, reach: float, within: tuple[float, float] | None
) -> tuple[float, float] | tuple[None, None]:
    if within is None:
        return value - reach, value + reach
    least, most = within
    place = (value - least) / (most - least)
    if not 0 < place < 1:
        return None, None
    logit = np.log(place / (1 - place))
    step = reach / ((most - least) * place * (1 - place))
    low, high = 1 / (1 + np.exp(-(logit + np.array([-step, step])).clip(-500, 500)))
    return least + (most - least) * float(low), least + (most - least) * float(high)
