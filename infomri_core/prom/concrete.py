"""Binary masks with a gradient to their probabilities: the binary concrete, made hard."""

import torch

from infomri_core.randomness.draws import Randomness, uniform

_UNIFORM_EDGE = 1e-6


def concrete_masks(
    theta: torch.Tensor, n_masks: int, temperature: float, edge: float, generator: Randomness
) -> torch.Tensor:
    """``n_masks`` draws (n_masks, *theta.shape) of zeros and ones from probabilities ``theta``.

    m~ = sigmoid((logit theta + logit u) / temperature), m = 1[m~ > 1/2], with the gradient of m~
    (ProM, Eq. 4-5; Maddison et al. 2017). The logit is of theta moved into [edge, 1 - edge], and
    its gradient passes unchanged: a position at 0 or 1 can come back, and none has an infinite
    gradient. The masks are independent in every position: their count has the mean of the
    probabilities only.
    """
    noise = uniform(generator, (n_masks, *theta.shape), theta.device).to(theta.dtype)
    noise = noise.clamp(_UNIFORM_EDGE, 1 - _UNIFORM_EDGE)
    inside = theta + (theta.clamp(edge, 1 - edge) - theta).detach()
    soft = torch.sigmoid((inside.logit() + noise.logit()) / temperature)
    hard = (soft > 0.5).to(soft.dtype)
    return hard + (soft - soft.detach())
