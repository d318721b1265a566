"""A site's privacy budget, as it leaves beside an update's epsilon where the site tells it."""

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
