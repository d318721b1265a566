"""Random numbers that no one outside can predict: AES-256 in counter mode, and draws from it.

torch's CPU generator keeps the low 32 bits of its seed: all of its streams can be tried in an hour
on one core. Everything that a privacy guarantee or a site's secret rests on is drawn here instead.
"""

import builtins
import hashlib
import hmac
import math
import os
from collections.abc import Sequence
from decimal import Context, Decimal
from functools import lru_cache
from typing import NamedTuple, final

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from infomri_core.system.errors import InputError

Shape = int | tuple[int, ...]
Words = npt.NDArray[np.uint64]

MIN_SECRET_BYTES = 16
LARGEST_SIGMA = 2.0**48
TAIL = 12.0
_CHUNK = 1 << 16
_SLOT_BITS = 16
_MARGIN = 2.0**-40


@final
class SecretStream:
    """The keystream of AES-256 in counter mode under ``key`` (32 bytes), read from its start.

    One key is one stream: with the key all draws are known. Draws follow each other,
    so the same calls on the same key give the same numbers. Not safe for several threads.
    """

    def __init__(self, key: builtins.bytes) -> None:
        if len(key) != 32:
            expected = "a key of 32 bytes"
            raise InputError("SecretStream", expected, f"{len(key)} bytes", "use derived()")
        self._cipher = Cipher(algorithms.AES(key), modes.CTR(builtins.bytes(16))).encryptor()

    @classmethod
    def fresh(cls, secret: str = "") -> "SecretStream":
        """A stream that never comes again: 32 bytes of the operating system, mixed with the
        site's ``secret`` if there is one, so that a weak system source alone reveals nothing."""
        return cls(_hmac(secret.encode(), "fresh", os.urandom(32).hex()))

    @classmethod
    def derived(cls, secret: str, *context: str | int | float) -> "SecretStream":
        """The stream of ``context`` under the site's ``secret``, the same each time it is asked
        for: HMAC-SHA256 as the key. Raises ``InputError`` for a secret of fewer than 16 bytes."""
        if len(secret.encode()) < MIN_SECRET_BYTES:
            expected = f"a secret of at least {MIN_SECRET_BYTES} bytes"
            got = f"{len(secret.encode())} bytes"
            raise InputError("SecretStream.derived", expected, got, "use the site's own secret")
        return cls(_hmac(secret.encode(), "derived", *context))

    @classmethod
    def public(cls, *context: str | int | float) -> "SecretStream":
        """A stream that everybody can repeat, for audits of public data and for tests."""
        return cls(_hmac(b"public", *context))

    def bytes(self, n: int) -> builtins.bytes:
        """The next ``n`` bytes."""
        return self._cipher.update(builtins.bytes(n))

    def words(self, shape: Shape) -> Words:
        """Uniform 64-bit words, uint64 of ``shape``."""
        n = math.prod(_shape(shape))
        found = np.frombuffer(self.bytes(8 * n), dtype="<u8").reshape(shape)
        return found.astype(np.uint64)

    def uniform(self, shape: Shape = ()) -> npt.NDArray[np.float64]:
        """Multiples of 2^-53 in [0, 1), float64 of ``shape``."""
        return np.multiply(self.words(shape) >> np.uint64(11), 2.0**-53, dtype=np.float64)

    def integers(self, high: int, shape: Shape = ()) -> npt.NDArray[np.int64]:
        """Exactly uniform integers in [0, ``high``), int64 of ``shape``; 0 < high <= 2^63."""
        if not 0 < high <= 1 << 63:
            raise InputError("SecretStream.integers", "0 < high <= 2^63", str(high), "correct it")
        last = np.uint64((1 << 64) - (1 << 64) % high - 1)
        found = self.words(_shape(shape)).ravel()
        while len(late := np.flatnonzero(found > last)):
            found[late] = self.words(len(late))
        return (found % np.uint64(high)).astype(np.int64).reshape(shape)

    def bernoulli(self, p: float, shape: Shape = ()) -> npt.NDArray[np.bool_]:
        """Independent coins that are true with probability ``p``, rounded down to 2^-64."""
        if not 0 <= p <= 1:
            raise InputError("SecretStream.bernoulli", "0 <= p <= 1", str(p), "correct it")
        words = self.words(shape)
        if p == 1:
            return np.ones(words.shape, dtype=np.bool_)
        found: npt.NDArray[np.bool_] = words < np.uint64(int(p * 2.0**64))
        return found

    def poisson_sample(self, n: int, rate: float) -> npt.NDArray[np.int64]:
        """Poisson subsampling: the indices below ``n`` that a coin of ``rate`` each chose."""
        return np.flatnonzero(self.bernoulli(rate, n)).astype(np.int64)

    def permutations(self, n_rows: int, n: int) -> npt.NDArray[np.int64]:
        """Uniform permutations of 0 .. ``n`` - 1, int64 (n_rows, n), by sorting random keys; a row
        whose keys are not all different is drawn again, so that every order is equally likely."""
        bits = np.uint64(max(1, n - 1).bit_length())
        found = np.empty((n_rows, n), dtype=np.int64)
        rows = np.arange(n_rows)
        while len(rows):
            keys = (self.words((len(rows), n)) >> bits << bits) | np.arange(n, dtype=np.uint64)
            keys.sort(axis=1)
            found[rows] = keys & ((np.uint64(1) << bits) - np.uint64(1))
            keys >>= bits
            rows = rows[(keys[:, 1:] == keys[:, :-1]).any(1)]
        return found

    def permutation(self, n: int) -> npt.NDArray[np.int64]:
        """One uniform permutation of 0 .. ``n`` - 1."""
        found: npt.NDArray[np.int64] = self.permutations(1, n)[0]
        return found

    def normal(self, shape: Shape = ()) -> npt.NDArray[np.float64]:
        """Standard normal values, float64 of ``shape``: :func:`gaussian` on the lattice 2^-32."""
        return gaussian(self, 1.0, shape, 2.0**-32)


def keyed_generator(secret: str, *context: str | int | float) -> np.random.Generator:
    """A NumPy generator seeded with 256 bits of ``context`` under ``secret``: none can be tried,
    but its raw outputs tell the next ones. Without a secret it follows from ``context`` alone."""
    stream = SecretStream.derived(secret, *context) if secret else SecretStream.public(*context)
    return np.random.default_rng(int.from_bytes(stream.bytes(32)))


def gaussian(
    stream: SecretStream, sigma: float, shape: Shape, step: float
) -> npt.NDArray[np.float64]:
    """``step`` times a :func:`discrete_gaussian` of standard deviation ``sigma / step``: Gaussian
    noise on a lattice that does not depend on the data, float64 of ``shape``.

    Added to data that were rounded to the same lattice it is the mechanism itself; to other data
    it is an approximation of continuous noise whose last bits speak (Mironov 2012).
    """
    return step * discrete_gaussian(stream, sigma / step, shape).astype(np.float64)


def discrete_gaussian(
    stream: SecretStream, sigma: float, shape: Shape = ()
) -> npt.NDArray[np.int64]:
    """Independent integers x with probability proportional to exp(-x^2 / (2 sigma^2)), int64.

    The discrete Gaussian of Canonne, Kamath and Steinke (2020), by rejection from a step function
    above it. Exact but for the tails: integers beyond 12 sigma are never drawn, a total-variation
    error below 2^-100 a value. A comparison that float64 cannot decide for certain is decided by
    decimal arithmetic (about one in 2^40). Its variance is below sigma^2, and equals it to 2^-60
    from sigma = 2 on. Raises ``InputError`` unless 0 < sigma <= 2^48.
    """
    if not 0 < sigma <= LARGEST_SIGMA:
        raise InputError("discrete_gaussian", "0 < sigma <= 2^48", str(sigma), "choose a scale")
    table = _table(float(sigma))
    found = np.empty(math.prod(_shape(shape)), dtype=np.int64)
    n_done = 0
    while n_done < len(found):
        n_wanted = min(_CHUNK, len(found) - n_done)
        kept = _candidates(stream, table, n_wanted + n_wanted // 16 + 8)[:n_wanted]
        found[n_done : n_done + len(kept)] = kept
        n_done += len(kept)
    return found.reshape(shape)


class _Table(NamedTuple):
    """A step function of ``2 ** shift`` integers a bin that lies above exp(-x^2 / (2 sigma^2)).

    ``bins`` (2^16,) says which bin a slot belongs to, -1 for a slot of none; ``slots`` (n_bins,)
    how many slots a bin has, of ``per_unit`` for the height 1; ``low`` (n_bins,) its first
    integer; ``sure`` (n_bins,) below which 32-bit word every integer of it is accepted.
    """

    sigma: float
    shift: int
    per_unit: int
    bins: npt.NDArray[np.int16]
    slots: npt.NDArray[np.int64]
    low: npt.NDArray[np.int64]
    sure: npt.NDArray[np.uint32]


@lru_cache(maxsize=16)
def _table(sigma: float) -> _Table:
    shift = max(0, math.frexp(sigma)[1] - 6)
    width = 1 << shift
    half = math.ceil(TAIL * sigma / width) + 1
    low = np.arange(-half, half, dtype=np.int64) * width
    high = low + width - 1
    nearest, furthest = (
        np.where(low >= 0, low, high) / sigma,
        np.where(low >= 0, high, low) / sigma,
    )
    top, bottom = np.exp(-(nearest**2) / 2), np.exp(-(furthest**2) / 2)
    per_unit = int(((1 << _SLOT_BITS) - len(low) - 2) / (top.sum() * (1 + _MARGIN)))
    slots = np.maximum(1, np.ceil(top * per_unit * (1 + _MARGIN))).astype(np.int64)
    bins = np.full(1 << _SLOT_BITS, -1, dtype=np.int16)
    bins[: slots.sum()] = np.repeat(np.arange(len(low), dtype=np.int16), slots)
    share = bottom * per_unit / slots * (1 - _MARGIN)
    sure = np.maximum(0, np.floor(share * 2.0**32) - 1).astype(np.uint32)
    return _Table(sigma, shift, per_unit, bins, slots, low, sure)


def _candidates(stream: SecretStream, table: _Table, n: int) -> npt.NDArray[np.int64]:
    """The accepted ones of ``n`` candidates."""
    words = stream.words(n)
    bins = table.bins[words >> np.uint64(64 - _SLOT_BITS)]
    values = (words & np.uint64((1 << table.shift) - 1)).view(np.int64)
    values += table.low[bins]
    coins = np.frombuffer(stream.bytes(4 * n), dtype="<u4")
    accepted = coins < table.sure[bins]
    open_ones = np.flatnonzero(~accepted & (bins >= 0))
    accepted &= bins >= 0
    more = np.frombuffer(stream.bytes(4 * len(open_ones)), dtype="<u4")
    long_coins = (coins[open_ones].astype(np.uint64) << np.uint64(32)) | more
    accepted[open_ones] = _decide(
        stream, table, values[open_ones], table.slots[bins[open_ones]], long_coins
    )
    kept: npt.NDArray[np.int64] = values[accepted]
    return kept


def _decide(
    stream: SecretStream,
    table: _Table,
    values: npt.NDArray[np.int64],
    slots: npt.NDArray[np.int64],
    coins: Words,
) -> npt.NDArray[np.bool_]:
    """Whether U < exp(-x^2 / (2 sigma^2)) per_unit / slots, for a U that begins with ``coins``."""
    chance = np.exp(-((values / table.sigma) ** 2) / 2) * (table.per_unit / slots)
    u = coins * 2.0**-64
    accepted: npt.NDArray[np.bool_] = u + 2.0**-64 < chance * (1 - _MARGIN)
    unsure = np.flatnonzero(~accepted & (u <= chance * (1 + _MARGIN)))
    for i in unsure:
        accepted[i] = _decide_exactly(stream, table, int(values[i]), int(slots[i]), int(coins[i]))
    return accepted


def _decide_exactly(
    stream: SecretStream, table: _Table, value: int, slots: int, coin: int
) -> bool:
    """The comparison of :func:`_decide` with as many more bits of U and digits as it takes."""
    bits = 64
    while True:
        coin, bits = (coin << 128) | int.from_bytes(stream.bytes(16)), bits + 128
        digits = Context(prec=bits, Emin=-(10**9))
        ratio = digits.divide(Decimal(value), Decimal(table.sigma))
        exponent = digits.divide(digits.multiply(ratio, ratio), Decimal(-2))
        scale = digits.divide(Decimal(table.per_unit), Decimal(slots))
        chance = digits.multiply(digits.exp(exponent), scale)
        scaled = digits.multiply(chance, Decimal(1 << bits))
        if abs(digits.subtract(scaled, Decimal(coin))) > 2:
            return Decimal(coin) < scaled


def _shape(shape: Shape) -> tuple[int, ...]:
    return (shape,) if isinstance(shape, int) else shape


def _hmac(secret: builtins.bytes, *context: str | int | float) -> builtins.bytes:
    """HMAC-SHA256 of names and numbers, none of which can run into its neighbour."""
    encoded = [repr(part if isinstance(part, int | float) else str(part)) for part in context]
    text = "".join(f"{len(part)}:{part}" for part in encoded)
    return hmac.new(secret, ("infomri stream " + text).encode(), hashlib.sha256).digest()


__all__: Sequence[str] = ["SecretStream", "discrete_gaussian", "gaussian", "keyed_generator"]
