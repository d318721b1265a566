"""Per-sample gradients without keeping them: their norms, and their weighted sum.

A forward pass notes each layer's input A, the backward pass of the summed loss the gradient G of
its output; row i of both belongs to sample i alone, because no layer here mixes samples. From A
and G follow the norms of all per-sample gradients, and, once the clipping weights are known, the
weighted sum: with no second backward pass (book-keeping, Bu et al. 2023). A convolution's norm
comes from its per-sample gradient where that is small, and from the Gram matrices of A and G
where it is large (ghost norm, Goodfellow 2015; Li et al. 2022).

Norms never say too little, and sums are right to a share of the clip that is proved
(:func:`sum_error`): anyone who chooses the weights can make a sample's parts cancel. Where the
per-sample gradient is kept, the sum is of the very float32 vector whose norm was taken. Elsewhere
both are float64 sums over places p of a_p g_p^T. With b = sum_p |a_p| |g_p|, their rounding is at
most gamma b^2 in the squared norm, which is added to it, and gamma b in the sum
(:data:`UNIT_ROUNDOFF`; Higham 2002, section 3.1).
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
UNIT_ROUNDOFF = 2.0**-53
"""Of float64."""
TOGETHER = 8
"""Samples of a layer without kept gradients that are summed at a time."""


def sum_error(n_samples: int) -> float:
    """The most, as a share of the clip, by which the sum of ``n_samples`` clipped gradients can be
    wrong, in the Euclidean norm over all layers, whatever these gradients are.

    In a layer with P places the squared norm is raised by more than P^2 u b^2 beyond its rounding,
    so that a clipping weight is at most clip / (P sqrt(u) b); and gamma of a sum of 8 samples is
    (8 P + 3) u. So a sample's part of the sum is wrong by at most 11 sqrt(u) clips. Float64 sums
    of kept gradients, and of the parts, add at most (n + 2) u a sample.
    """
    u = UNIT_ROUNDOFF
    return float(n_samples * ((TOGETHER + 3) * math.sqrt(u) + (n_samples + 2) * u))


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
        """(B,) squared norms, float64, of the per-sample gradients of all of this layer's
        parameters, and no less."""
        total = self._weight_norms()
        if getattr(self.module, "bias", None) is not None:
            total = total + self._bias_gradients().double().square().sum(1)
        return total

    def weighted(self, weights: torch.Tensor) -> Gradients:
        """Sum over samples of ``weights`` (B,) times the per-sample gradients, float64."""
        found = {cast(nn.Parameter, self.module.weight): self._weighted_weight(weights)}
        if getattr(self.module, "bias", None) is not None:
            found[cast(nn.Parameter, self.module.bias)] = (
                weights.double() @ self._bias_gradients().double()
            )
        return found

    def _weight_norms(self) -> torch.Tensor:
        A, G, module = self._inputs, self._gradients, self.module
        if isinstance(module, nn.Linear):
            return A.double().square().sum(1) * G.double().square().sum(1)
        if isinstance(module, nn.GroupNorm):
            normalised = functional.group_norm(A, module.num_groups, eps=module.eps)
            self._kept = (G * normalised).flatten(2).sum(2)
            return self._kept.double().square().sum(1)
        assert isinstance(module, nn.Conv2d)
        n_out, n_in, height, width = module.weight.shape
        n_places, n_seen = G[0, 0].numel(), n_in * height * width
        if n_places * (n_seen + n_out) < n_seen * n_out:
            # In float64: with a large offset in A and a zero-sum G nearly all of it cancels.
            patches, G = _patches(module, A).double(), G.flatten(2).double()
            found = ((patches.mT @ patches) * (G.mT @ G)).sum((1, 2)).clamp(min=0)
            bound = (patches.square().sum(1).sqrt() * G.square().sum(1).sqrt()).sum(1)
            gamma = 2 * (n_places**2 + n_seen + n_out + 2) * UNIT_ROUNDOFF
            return found + gamma * bound.square()
        self._kept = _per_sample_weights(module, A, G)
        return self._kept.double().square().sum(1)

    def _weighted_weight(self, weights: torch.Tensor) -> torch.Tensor:
        module = self.module
        weight = cast(nn.Parameter, module.weight)
        if self._kept is not None:
            return (weights.double() @ self._kept.double()).view_as(weight)
        scaled = self._gradients.double() * weights.double().view(
            -1, *[1] * (self._gradients.ndim - 1)
        )
        if isinstance(module, nn.Linear):
            return scaled.T @ self._inputs.double()
        assert isinstance(module, nn.Conv2d)
        total = torch.zeros_like(weight, dtype=torch.float64)
        for A, G in zip(self._inputs.split(TOGETHER), scaled.split(TOGETHER), strict=True):
            total += _weight_gradient(module, A.double(), G)
        return total

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


def policy_gradients(
    probabilities: torch.Tensor, parameters: list[nn.Parameter], mask_gradients: torch.Tensor
) -> list[torch.Tensor]:
    """A policy's per-sample gradients (B, ...), float32, of each of its ``parameters``.

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
    return [torch.cat(gradients) for gradients in zip(*parts, strict=True)]


def squares(gradients: torch.Tensor) -> torch.Tensor:
    """(B,) squared norms of the rows of ``gradients`` (B, ...), float64."""
    return gradients.reshape(len(gradients), -1).double().square().sum(1)


def weighted_sum(weights: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Sum of ``weights`` (B,) times the rows of ``gradients`` (B, ...), float64."""
    rows = gradients.reshape(len(gradients), -1).double()
    return (weights.double() @ rows).view(gradients.shape[1:])


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
