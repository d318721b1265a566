"""The sample-weighted mean of the sites' weights, as replies arrive (FedAvg).

The sum runs in fixed point: integers add exactly, so the mean is the same bit for bit whatever the
order of the replies, and it is the sum that secure aggregation can take over. Memory is one int64
vector, however many sites there are.
"""

from typing import final

import numpy as np

from infomri_core.system.errors import InputError

SCALE = 2**24
MAX_SAMPLES = 2**40
_LIMIT = 2**63 - 1
_CHUNK = 2**14


@final
class WeightedMean:
    """Mean of flat float32 vectors (n,), each counted ``n_samples`` times.

    Each entry is rounded to a multiple of 2^-24 first: the mean lies within 2^-25 of the exact
    one, and one float32 rounding.

    Args:
        n: Length of the vectors.
    """

    def __init__(self, n: int) -> None:
        self.n_samples = 0
        self.n_replies = 0
        self._sum = np.zeros(n, dtype=np.int64)
        self._bound = 0

    def add(self, flat: np.ndarray, n_samples: int) -> None:
        """Add a vector that ``check`` accepts; the sum stays as it was when it does not.

        Args:
            flat: A site's weights, float32 (n,).
            n_samples: Slices that the site trained on.
        """
        self._bound = self.check(flat, n_samples)
        for start in range(0, len(flat), _CHUNK):
            part = slice(start, start + _CHUNK)
            self._sum[part] += _fixed(flat[part]) * n_samples
        self.n_samples += n_samples
        self.n_replies += 1

    def check(self, flat: np.ndarray, n_samples: int) -> int:
        """A bound on the sum with this vector added, whose arguments are those of ``add``.

        Raises:
            InputError: The length is wrong, a value is not finite, the count is not positive, or
                the sum could overflow.
        """
        bound = self._bound + n_samples * largest_step(flat, n_samples, self._sum.shape)
        if bound > _LIMIT:
            expected = f"samples x largest weight, over all sites, below {_LIMIT / SCALE:.3g}"
            raise InputError(
                "aggregation",
                expected,
                f"{bound / SCALE:.3g}",
                "a site's weights have diverged, or it reports too many samples",
            )
        return bound

    def value(self) -> np.ndarray:
        """The mean, float32 (n,).

        Raises:
            ValueError: Nothing was added.
        """
        if self.n_samples == 0:
            raise ValueError("the mean of no reply is undefined: no site's weights were added")
        mean = np.empty(len(self._sum), dtype=np.float32)
        for start in range(0, len(mean), _CHUNK):
            part = slice(start, start + _CHUNK)
            mean[part] = self._sum[part] / (float(SCALE) * self.n_samples)
        return mean


def largest_step(flat: np.ndarray, n_samples: int, shape: tuple[int, ...]) -> int:
    """The largest magnitude in a site's weights, in multiples of 2^-24.

    Args:
        flat: Float32 weights.
        n_samples: Slices that the site trained on.
        shape: What ``flat`` must have.

    Raises:
        InputError: Another shape, values that are not finite float32, no sample, or more than any
            data set has.
    """
    where, remedy = "aggregation", "the site runs another version or another plan"
    if n_samples < 1:
        raise InputError(where, "at least one sample", str(n_samples), "drop the reply")
    if n_samples > MAX_SAMPLES:
        raise InputError(where, f"at most {MAX_SAMPLES} samples", str(n_samples), "drop the reply")
    if flat.shape != shape or flat.dtype != np.float32:
        expected = f"float32 weights of shape {shape}"
        raise InputError(where, expected, f"{flat.dtype} {flat.shape}", remedy)
    largest = float(max(flat.max(), -flat.min())) if flat.size else 0.0
    if not np.isfinite(largest):
        n_bad = int(np.count_nonzero(~np.isfinite(flat)))
        raise InputError(
            where, "finite weights", f"{n_bad} that are not", "the arm diverged: drop it"
        )
    return int(np.rint(largest * SCALE))


def _fixed(values: np.ndarray) -> np.ndarray:
    return np.rint(values.astype(np.float64) * SCALE).astype(np.int64)
