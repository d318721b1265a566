"""FedProx's proximal term: a site's weights are drawn back to those the round began with."""

from collections.abc import Iterable
from typing import final

import torch
from torch import nn


@final
class Proximal:
    """Adds the gradient of weight/2 ||w - w0||^2 (FedProx; Li et al. 2020, Eq. 2), w0 being the
    parameters as they are now.

    The term depends on no patient: under differential privacy it is added to the noised gradient
    and costs nothing. With ``weight`` 0 nothing is kept and nothing is done.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], weight: float) -> None:
        self._weight = weight
        kept = list(parameters) if weight > 0 else []
        self._anchored = [(p, p.detach().clone()) for p in kept]

    @torch.no_grad()
    def add_gradient(self) -> None:
        """Add the term's gradient to the gradients that stand."""
        for parameter, anchor in self._anchored:
            pull = self._weight * (parameter - anchor)
            parameter.grad = pull if parameter.grad is None else parameter.grad.add_(pull)
