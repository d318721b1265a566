"""What a gradient says about a layer's inputs exactly: the space they span.

The gradient of a layer's weights is sum_p delta_p u_p^T over all places p of all images, u_p what
the layer saw there (for a convolution, its patch). While there are fewer places than outputs, its
row space is the span of the u_p, whatever the delta_p are: an image is right when its own
activations lie in it. Petrov et al. 2024 (DAGER) do so for the tokens of a transformer; here for
convolutions, whose deep layers have few places. Unlike the gradient itself, which jumps wherever a
ReLU switches, the distance to a span is continuous in the image, so that L-BFGS can follow it.
"""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from infomri_core.arms.sampled_model import SampledModel
from infomri_core.weight_attacks.updates import Update

LARGEST_SHARE = 0.6
"""A span of more than this share of the dimensions says too little."""


@final
class Spans:
    """The spans of the inputs of all layers of which ``update`` says one.

    ``n_inputs``: how many measurements went into the update, batch times local steps.
    """

    def __init__(
        self, model: SampledModel, update: Update, n_inputs: int, shape: Sequence[int]
    ) -> None:
        self._model = model
        self._bases: dict[nn.Module, Tensor] = {}
        gradients = dict(zip(model.network.parameters(), update))
        device = update[0].device
        with torch.no_grad():
            seen = self._inputs(torch.ones(1, *shape, dtype=torch.complex64, device=device))
        for layer, patches in seen.items():
            assert isinstance(layer.weight, nn.Parameter)
            gradient = gradients[layer.weight].flatten(1).double()
            rank = n_inputs * patches.shape[-1]
            if rank <= len(gradient) and rank <= LARGEST_SHARE * gradient.shape[1]:
                rows = torch.linalg.svd(gradient, full_matrices=False).Vh
                self._bases[layer] = rows[:rank].float()

    def __len__(self) -> int:
        """How many layers give a span away."""
        return len(self._bases)

    def outside(self, measurements: Tensor) -> Tensor:
        """The share (B,) of each measurement's (B, H, W) activations outside the spans, in
        [0, 1], a mean over layers; zero for what went into the update."""
        shares = []
        for layer, patches in self._inputs(measurements).items():
            if (basis := self._bases.get(layer)) is not None:
                whole = patches.square().sum((1, 2))
                inside = (basis @ patches).square().sum((1, 2))
                shares.append((whole - inside) / whole.clamp_min(1e-12))
        return torch.stack(shares).mean(0)

    def _inputs(self, measurements: Tensor) -> dict[nn.Module, Tensor]:
        """What each layer with weights sees, (B, n, places)."""
        found: dict[nn.Module, Tensor] = {}

        def note(layer: nn.Module, inputs: tuple[Tensor]) -> None:
            found[layer] = _patches(layer, inputs[0])

        wanted = [m for m in self._model.network.modules() if isinstance(m, _LAYERS)]
        if self._bases:
            wanted = [m for m in wanted if m in self._bases]
        handles = [m.register_forward_pre_hook(note) for m in wanted]
        try:
            self._model.output(measurements)
        finally:
            for handle in handles:
                handle.remove()
        return found


_LAYERS = (nn.Linear, nn.Conv2d)


def _patches(layer: nn.Module, inputs: Tensor) -> Tensor:
    if isinstance(layer, nn.Linear):
        return inputs[..., None]
    assert isinstance(layer, nn.Conv2d) and not isinstance(layer.padding, str)
    kernel = (layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    return functional.unfold(inputs, *kernel)
