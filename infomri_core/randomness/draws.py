"""One way to draw from torch's generators and from other sources of randomness.

What is public follows from a ``torch.Generator``. What a guarantee or a secret rests on comes from
a cryptographic stream (:mod:`infomri_core.randomness.secret_stream`), which is a ``Source``.
"""

from typing import Any, Protocol, cast

import numpy.typing as npt
import torch

Shape = tuple[int, ...]


class Source(Protocol):
    """Draws as NumPy arrays on the CPU."""

    def normal(self, shape: Shape) -> npt.NDArray[Any]: ...

    def uniform(self, shape: Shape) -> npt.NDArray[Any]: ...

    def integers(self, high: int, shape: Shape) -> npt.NDArray[Any]: ...

    def permutations(self, n_rows: int, n: int) -> npt.NDArray[Any]: ...


Randomness = torch.Generator | Source | None
"""None is torch's own global generator."""


def device_of(source: Randomness, default: torch.device) -> torch.device:
    """Where draws are made: on the generator's device, else on ``default``."""
    return source.device if isinstance(source, torch.Generator) else default


def normal(
    source: Randomness, shape: Shape, device: torch.device, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """Standard normal values of ``shape``."""
    if _of_torch(source):
        return torch.randn(shape, generator=_torch(source), device=device, dtype=dtype)
    return torch.from_numpy(cast(Source, source).normal(shape)).to(device, dtype)


def uniform(
    source: Randomness, shape: Shape, device: torch.device, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """Values in [0, 1) of ``shape``: ``dtype`` of torch, float64 of another source."""
    if _of_torch(source):
        return torch.rand(shape, generator=_torch(source), device=device, dtype=dtype)
    return torch.from_numpy(cast(Source, source).uniform(shape)).to(device)


def integers(source: Randomness, high: int, shape: Shape, device: torch.device) -> torch.Tensor:
    """Integers in [0, ``high``), int64 of ``shape``."""
    if _of_torch(source):
        return torch.randint(high, shape, generator=_torch(source), device=device)
    return torch.from_numpy(cast(Source, source).integers(high, shape)).to(device)


def permutations(source: Randomness, n_rows: int, n: int, device: torch.device) -> torch.Tensor:
    """Independent uniform permutations of 0 .. ``n`` - 1, int64 (n_rows, n)."""
    if _of_torch(source):
        rows = [torch.randperm(n, generator=_torch(source), device=device) for _ in range(n_rows)]
        return torch.stack(rows)
    return torch.from_numpy(cast(Source, source).permutations(n_rows, n)).to(device)


def _of_torch(source: Randomness) -> bool:
    return source is None or isinstance(source, torch.Generator)


def _torch(source: Randomness) -> torch.Generator | None:
    return cast(torch.Generator | None, source)
