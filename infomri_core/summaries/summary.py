"""What may leave a site in place of scores: sums over groups of patients, which merge."""

from collections.abc import Mapping
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt


class Summary(Protocol):
    """A statistic whose arrays have the group of patients as their first axis. No torch in it: the
    process without data reads summaries, too."""

    def merge(self, other: Self) -> Self:
        """Both sites' groups, one after the other. ``ValueError`` where they do not fit."""
        ...

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The message form."""
        ...

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Read the message form; ``ValueError`` when it is not one."""
        ...


def n_groups(summary: Summary) -> int:
    """How many groups a summary has."""
    return len(next(iter(summary.to_arrays().values())))


def n_numbers(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """How many numbers a group's arrays of these ``shapes`` hold."""
    return int(sum(np.prod(shape, dtype=np.int64) for shape in shapes.values()))
