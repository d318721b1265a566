"""Per-sample gradients without keeping them: their norms, and their weighted sum.

A forward pass notes each layer's input A, the backward pass of the summed loss the gradient G of
its output; row i of both belongs to sample i alone, because no layer here mixes samples. From A
and G follow the norms of all per-sample gradients, and, once the clipping weights are known, the
weighted sum: with no second backward pass (book-keeping, Bu et al. 2023). A convolution's norm
comes from its per-sample gradient where that is small, and from the Gram matrices of A and G
where it is large (ghost norm, Goodfellow 2015; Li et al. 2022), summed in float64.
"""

import contextlib
import math
from collections.abc import Iterator
from typing import Any, cast, final

import torch
from torch import nn
from torch.nn import functional
from torch.nn.grad import conv2d_weight

from infomri_core.system.errors import InputError

Gradients = dict[nn.Parameter, torch.Tensor]


@final
class Layer:
    """One layer with parameters, its input and its output's gradient, of one pass."""

    def __init__(self, module: nn.Module, inputs: torch.Tensor) -> None:
        self.module = module
        self._inputs = inputs
        self._gradients = torch.empty(0)
        self._kept: torch.Tensor | None = None

    def note(self, gradients: torch.Tensor) -> None:
        """Take the gradient of the layer's output (B, ...)."""
        self._gradients = gradients

    def squared_norms(self) -> torch.Tensor:
        """(B,) squared norms of the per-sample gradients of all of this layer's parameters."""
        total = self._weight_norms()
        if getattr(self.module, "bias", None) is not None:
            total = total + self._bias_gradients().square().sum(1)
        return total

    def weighted(self, weights: torch.Tensor) -> Gradients:
        """Sum over samples of ``weights`` (B,) times the per-sample gradients."""
        found = {cast(nn.Parameter, self.module.weight): self._weighted_weight(weights)}
        if getattr(self.module, "bias", None) is not None:
            found[cast(nn.Parameter, self.module.bias)] = weights @ self._bias_gradients()
        return found

    def _weight_norms(self) -> torch.Tensor:
        A, G, module = self._inputs, self._gradients, self.module
        if isinstance(module, nn.Linear):
            return A.square().sum(1) * G.square().sum(1)
        if isinstance(module, nn.GroupNorm):
            normalised = functional.group_norm(A, module.num_groups, eps=module.eps)
            self._kept = (G * normalised).flatten(2).sum(2)
            return self._kept.square().sum(1)
        assert isinstance(module, nn.Conv2d)
        n_out, n_in, height, width = module.weight.shape
        n_places, n_seen = G[0, 0].numel(), n_in * height * width
        if n_places * (n_seen + n_out) < n_seen * n_out:
            # In float64: with a large offset in A and a zero-sum G nearly all of it cancels.
            patches, G = _patches(module, A).double(), G.flatten(2).double()
            return ((patches.mT @ patches) * (G.mT @ G)).sum((1, 2)).clamp(min=0).to(A.dtype)
        self._kept = _per_sample_weights(module, A, G)
        return self._kept.square().sum(1)

    def _weighted_weight(self, weights: torch.Tensor) -> torch.Tensor:
        module = self.module
        weight = cast(nn.Parameter, module.weight)
        if self._kept is not None:
            return (weights @ self._kept).view_as(weight)
        if isinstance(module, nn.Linear):
            return (self._gradients * weights[:, None]).T @ self._inputs
        assert isinstance(module, nn.Conv2d)
        return _weight_gradient(module, self._inputs, self._gradients * weights.view(-1, 1, 1, 1))

    def _bias_gradients(self) -> torch.Tensor:
        return self._gradients.flatten(2).sum(2) if self._gradients.ndim > 2 else self._gradients


@contextlib.contextmanager
def recorded(network: nn.Module) -> Iterator[list[Layer]]:
    """The layers of ``network``, in the order in which a forward pass inside the block uses them.

    Inside the block the parameters take no gradient themselves: call ``backward`` on the *sum*
    of the samples' losses, then ask the layers. Raises ``InputError`` where a layer's gradients
    would not be per sample (BatchNorm), or are not known here.
    """
    check_layers(network)
    layers: list[Layer] = []

    def forward(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        if any(layer.module is module for layer in layers):
            raise InputError("per-sample gradients", "each layer used once", "twice", "copy it")
        if not output.requires_grad:
            output.requires_grad_()
        layer = Layer(module, inputs[0].detach())
        layers.append(layer)
        output.register_hook(layer.note)

    parameters = list(network.parameters())
    leaves = [module for module in network.modules() if _has_own_parameters(module)]
    handles = [module.register_forward_hook(forward) for module in leaves]
    try:
        for parameter in parameters:
            parameter.requires_grad_(False)
        yield layers
    finally:
        for handle in handles:
            handle.remove()
        for parameter in parameters:
            parameter.requires_grad_(True)


def check_layers(network: nn.Module) -> None:
    """Raise ``InputError`` for the first layer whose per-sample gradients are not known here."""
    for name, module in network.named_modules():
        if not _has_own_parameters(module):
            continue
        known = isinstance(module, nn.Linear | nn.GroupNorm)
        known = known or (isinstance(module, nn.Conv2d) and module.groups == 1)
        if not known or (isinstance(module, nn.Conv2d) and isinstance(module.padding, str)):
            expected = "Linear, GroupNorm or ungrouped Conv2d layers"
            got = f"{type(module).__name__} ({name})"
            raise InputError("differential privacy", expected, got, "use [model] norm = 'group'")


def policy_squared_norms(
    probabilities: torch.Tensor, parameters: list[nn.Parameter], mask_gradients: torch.Tensor
) -> torch.Tensor:
    """(B,) squared norms of a policy's per-sample gradients.

    ``probabilities`` (H, W) are the policy's, with their graph, which is kept;
    ``mask_gradients`` (B, H, W) those of each sample's loss to its own mask. The straight-through
    gradient is the identity, so that sample i's gradient is J^T g_i with J the policy's Jacobian:
    as many products with one small network, the embedding included, as there are samples.
    """
    size = max(1, (1 << 17) // math.prod(probabilities.shape))
    parts = [
        torch.autograd.grad(
            probabilities, parameters, chunk, is_grads_batched=True, retain_graph=True
        )
        for chunk in mask_gradients.split(size)
    ]
    return torch.cat([torch.stack([_squares(g) for g in part]).sum(0) for part in parts])


def _squares(gradients: torch.Tensor) -> torch.Tensor:
    return gradients.reshape(len(gradients), -1).square().sum(1)


def _has_own_parameters(module: nn.Module) -> bool:
    return next(module.parameters(recurse=False), None) is not None


def _patches(module: nn.Conv2d, A: torch.Tensor) -> torch.Tensor:
    """What each output place sees, (B, C kh kw, places)."""
    padding = cast(tuple[int, int], module.padding)
    return functional.unfold(A, module.kernel_size, module.dilation, padding, module.stride)


def _per_sample_weights(module: nn.Conv2d, A: torch.Tensor, G: torch.Tensor) -> torch.Tensor:
    """Per-sample weight gradients (B, n): one convolution with as many groups as samples."""
    size, n = list(module.weight.shape), len(A)
    A, G = A.flatten(0, 1)[None], G.flatten(0, 1)[None]
    return _weight_gradient(module, A, G, [n * size[0], *size[1:]], n).view(n, -1)


def _weight_gradient(
    module: nn.Conv2d,
    A: torch.Tensor,
    G: torch.Tensor,
    size: list[int] | None = None,
    groups: int = 1,
) -> torch.Tensor:
    return conv2d_weight(
        A,
        cast(Any, size or list(module.weight.shape)),
        G,
        module.stride,
        cast(Any, module.padding),
        module.dilation,
        groups,
    )
