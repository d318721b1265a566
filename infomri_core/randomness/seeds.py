"""Random streams from names: every random number follows from who draws it and why.

These streams are public, repeatable, and have at most 63 bits (32 on a CPU). What a guarantee or a
secret rests on is drawn from ``infomri_core.randomness.secret_stream.SecretStream``.
"""

import hashlib

import numpy as np
import torch


def derive_seed(*parts: str | int | float) -> int:
    """A 63-bit seed, the same on every machine.

    Args:
        parts: Names and numbers that say who draws, and why.
    """
    text = "\x1f".join(repr(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def torch_generator(
    *parts: str | int | float, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A torch generator on ``device``, seeded by ``derive_seed``."""
    return torch.Generator(device).manual_seed(derive_seed(*parts))


def numpy_generator(*parts: str | int | float) -> np.random.Generator:
    """A NumPy generator seeded by ``derive_seed``."""
    return np.random.default_rng(derive_seed(*parts))
