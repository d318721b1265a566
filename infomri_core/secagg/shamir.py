"""Shamir's secret sharing of 32 bytes over the field of 2^521 - 1 (Shamir 1979)."""

from collections.abc import Callable, Mapping

PRIME = 2**521 - 1
SECRET_BYTES = 32
_FIELD_BYTES = 66
_DRAW_BYTES = 96


def split(secret: bytes, n: int, threshold: int, random: Callable[[int], bytes]) -> list[bytes]:
    """Shares at the points 1 .. ``n``: any ``threshold`` of them give the secret back, fewer say
    nothing about it. Coefficients come from 96 ``random`` bytes each: their bias is below 2^-240.
    """
    if not 1 <= threshold <= n or len(secret) != SECRET_BYTES:
        raise ValueError(f"expected 32 bytes and 1 <= threshold <= {n}, got {threshold}")
    draws = (random(_DRAW_BYTES) for _ in range(threshold - 1))
    coefficients = [int.from_bytes(secret), *(int.from_bytes(draw) % PRIME for draw in draws)]
    return [_at(coefficients, point).to_bytes(_FIELD_BYTES) for point in range(1, n + 1)]


def join(shares: Mapping[int, bytes]) -> bytes:
    """The secret whose shares at these points are given; at least the threshold's number of them.

    Raises ``ValueError`` when the shares are of no 32-byte secret.
    """
    values = {point: int.from_bytes(share) for point, share in shares.items()}
    total = 0
    for i, value in values.items():
        above = below = 1
        for j in values:
            if j != i:
                above, below = above * j % PRIME, below * (j - i) % PRIME
        total += value * above * pow(below, -1, PRIME)
    secret = total % PRIME
    if secret.bit_length() > 8 * SECRET_BYTES:
        raise ValueError("these shares are not of one 32-byte secret, or too few")
    return secret.to_bytes(SECRET_BYTES)


def _at(coefficients: list[int], point: int) -> int:
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * point + coefficient) % PRIME
    return value
