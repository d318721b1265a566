"""Choosing where to compute."""

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
