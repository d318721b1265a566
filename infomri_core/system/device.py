"""Choosing where to compute."""

import contextlib
from collections.abc import Iterator

import torch

from infomri_core.system.errors import InputError


def pick_device(name: str) -> str:
    """``name``, or for "auto" CUDA where there is one, else the CPU.

    ``InputError`` when torch cannot use it.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            "device", "a device torch can use", f"'{name}' ({reason})", "use 'cpu' or 'auto'"
        ) from None
    return name


@contextlib.contextmanager
def even_time() -> Iterator[None]:
    """Let arithmetic in this thread, and in those that it starts, take the same time whatever the
    numbers: subnormal ones, up to eleven times slower on a CPU, become zero. Anyone who chose the
    weights of a network could otherwise read from the time of an answer what an image shows."""
    before = bool((torch.full((1,), 1e-38) * 0.01) == 0)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)
