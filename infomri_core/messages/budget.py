"""What an update's header says of privacy: epsilon, and the site's budget where it reports it."""

import math
from typing import Any, NamedTuple

MAX_EPSILON = 1e6


class Budget(NamedTuple):
    """What all studies together have ``spent`` at a site, the update that tells it included, of
    its ``limit``: epsilons at the site's own delta, the first rounded up."""

    spent: float
    limit: float


def budget_from(value: Any) -> Budget | None:
    """The budget in a header, None where none is reported; ``ValueError`` or ``TypeError`` where
    it has not the form."""
    if value is None:
        return None
    spent, limit = (float(number) for number in value)
    if not (0 <= spent < math.inf and 0 < limit <= MAX_EPSILON):
        raise ValueError("budget")
    return Budget(spent, limit)


def epsilon_from(value: Any) -> float | None:
    """The epsilon in a header, None without differential privacy; errors as of
    :func:`budget_from`."""
    if value is None:
        return None
    epsilon = float(value)
    if not 0 <= epsilon < math.inf:
        raise ValueError("epsilon")
    return epsilon
