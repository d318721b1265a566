"""The weights of a module as one flat array, and back."""

import numpy as np
import torch
from torch import nn

from infomri_core.system.errors import InputError


def flatten(module: nn.Module) -> np.ndarray:
    """All parameters and floating-point buffers as one float32 array, in state-dict order."""
    parts = [t.detach().reshape(-1).float().cpu() for t in state(module)]
    return torch.cat(parts).numpy() if parts else np.zeros(0, np.float32)


def unflatten(module: nn.Module, flat: np.ndarray) -> None:
    """Write a flat array back into ``module``. ``InputError`` when its length does not fit."""
    tensors = state(module)
    expected = sum(t.numel() for t in tensors)
    if flat.shape != (expected,):
        raise InputError(
            "weights",
            f"{expected} values",
            f"an array of shape {flat.shape}",
            "use weights made with the same plan",
        )
    values = torch.from_numpy(np.array(flat, dtype=np.float32))
    with torch.no_grad():
        for tensor, part in zip(tensors, values.split([t.numel() for t in tensors])):
            tensor.copy_(part.view_as(tensor))


def state(module: nn.Module) -> list[torch.Tensor]:
    """The tensors of a flat array, in its order."""
    return [t for t in module.state_dict(keep_vars=True).values() if t.is_floating_point()]
