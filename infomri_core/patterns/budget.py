"""How many points or columns an acceleration leaves."""

from infomri_core.system.errors import InputError


def n_samples(n: int, acceleration: float) -> int:
    """floor(n / acceleration), the budget S of ProM (Eq. 3). Raises ``InputError`` for an
    acceleration below one, or one that leaves nothing of ``n`` points or columns."""
    if not acceleration >= 1 or acceleration > n:
        got = f"{acceleration:g}"
        raise InputError("acceleration", f"a number from 1 to {n}", got, "choose another")
    return int(n / acceleration + 1e-9)
