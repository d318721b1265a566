"""Aggregates that a minority of wrong or hostile sites cannot move far.

All of them need every reply of a round at once: memory is 4 bytes x weights x arms x sites (45 MB
for one arm of 11.2 M weights at one site), where the mean keeps one vector an arm however many
sites there are. Each site has one voice: a sample count is a site's own claim, so it does not
weigh here. The study centre sees the weights of every site.
"""

from abc import ABC, abstractmethod
from typing import final

import numpy as np

from fl_server.aggregation.mean import SCALE, WeightedMean, largest_step
from infomri_core.system.errors import InputError

LARGEST = 1e6
_CHUNK = 2**18


class Collected(ABC):
    """Flat float32 vectors (n,), kept until the aggregate is asked for.

    Args:
        n: Length of the vectors.
    """

    def __init__(self, n: int) -> None:
        self.n_samples = 0
        self._shape = (n,)
        self._replies: list[np.ndarray] = []

    @property
    def n_replies(self) -> int:
        """How many vectors were added."""
        return len(self._replies)

    def check(self, flat: np.ndarray, n_samples: int) -> int:
        """The largest magnitude, in multiples of 2^-24.

        Args:
            flat: A site's weights, float32 (n,).
            n_samples: Slices that the site trained on.

        Raises:
            InputError: The length is wrong, a value is not finite or beyond any model's, or the
                count is not positive.
        """
        step = largest_step(flat, n_samples, self._shape)
        if step > LARGEST * SCALE:
            got = f"{step / SCALE:.3g}"
            raise InputError("aggregation", f"weights below {LARGEST:g}", got, "drop the reply")
        return step

    def add(self, flat: np.ndarray, n_samples: int) -> None:
        """Keep a vector that ``check`` accepts, whose arguments it takes."""
        self.check(flat, n_samples)
        self._replies.append(flat)
        self.n_samples += n_samples

    def value(self) -> np.ndarray:
        """The aggregate, float32 (n,); the same bits whatever the order of the replies.

        Raises:
            ValueError: Nothing was added.
        """
        if not self._replies:
            raise ValueError(
                "the aggregate of no reply is undefined: no site's weights were added"
            )
        return self._aggregate(self._replies)

    @abstractmethod
    def _aggregate(self, replies: list[np.ndarray]) -> np.ndarray:
        """The aggregate of at least one vector."""


@final
class TrimmedMean(Collected):
    """Mean of each coordinate without the floor(``trim`` x sites) largest and as many smallest
    (Yin et al. 2018, Definition 2). It withstands fewer wrong sites than it cuts at one end.

    Args:
        n: Length of the vectors.
        trim: Share of the sites that is cut at either end, below one half.
    """

    def __init__(self, n: int, trim: float) -> None:
        super().__init__(n)
        self._trim = trim

    def _aggregate(self, replies: list[np.ndarray]) -> np.ndarray:
        # 1e-9: 0.1 x 10 sites cuts one, whatever the last bit of the product.
        cut = int(self._trim * len(replies) + 1e-9)
        return _by_coordinate(replies, slice(cut, len(replies) - cut))


@final
class Median(Collected):
    """Median of each coordinate (Yin et al. 2018, Definition 1); the mean of the middle two for
    an even number of sites. It withstands any number of wrong sites below one half."""

    def _aggregate(self, replies: list[np.ndarray]) -> np.ndarray:
        n = len(replies)
        return _by_coordinate(replies, slice((n - 1) // 2, n // 2 + 1))


@final
class MultiKrum(Collected):
    """Mean of the sites - ``byzantine`` vectors whose nearest neighbours are nearest (Blanchard
    et al. 2017): the score of a vector is the sum of the squared distances to its
    sites - ``byzantine`` - 2 nearest. It needs at least 2 ``byzantine`` + 3 sites.

    Args:
        n: Length of the vectors.
        byzantine: How many wrong sites to withstand.
    """

    def __init__(self, n: int, byzantine: int) -> None:
        super().__init__(n)
        self._byzantine = byzantine

    def _aggregate(self, replies: list[np.ndarray]) -> np.ndarray:
        n, wrong = len(replies), self._byzantine
        if n < 2 * wrong + 3:
            expected = f"at least {2 * wrong + 3} replies to withstand {wrong} wrong"
            raise InputError("multi-krum", expected, str(n), "raise the plan's quorum")
        distances = np.sort(_squared_distances(replies), axis=1)[:, 1 : n - wrong - 1]
        scores = distances.sum(1)
        # Equal scores are told apart by content, so that the order of arrival never decides.
        order = sorted(range(n), key=lambda i: (scores[i], replies[i].tobytes()))
        mean = WeightedMean(len(replies[0]))
        for i in order[: n - wrong]:
            mean.add(replies[i], 1)
        return mean.value()


def _by_coordinate(replies: list[np.ndarray], ranks: slice) -> np.ndarray:
    """Mean of the values at ``ranks`` of each coordinate's sorted values, in chunks."""
    value = np.empty(len(replies[0]), dtype=np.float32)
    for start in range(0, len(value), _CHUNK):
        part = slice(start, start + _CHUNK)
        ranked = np.sort(np.stack([flat[part] for flat in replies]), axis=0)[ranks]
        value[part] = ranked.mean(axis=0, dtype=np.float64)
    return value


def _squared_distances(replies: list[np.ndarray]) -> np.ndarray:
    """Squared distances between all pairs, float64 (sites, sites), exactly symmetric."""
    distances = np.zeros((len(replies), len(replies)))
    for start in range(0, len(replies[0]), _CHUNK):
        chunks = [flat[start : start + _CHUNK].astype(np.float64) for flat in replies]
        for i, a in enumerate(chunks):
            for j, b in enumerate(chunks[:i]):
                distances[i, j] += np.square(a - b).sum()
    return distances + distances.T
