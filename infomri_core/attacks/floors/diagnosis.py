"""The diagnosis floor: what the model's answer alone gives away about the image."""

from collections.abc import Hashable, Mapping
from typing import Self, TypeVar, final

import numpy as np
import torch
from torch import Tensor

from infomri_core.attacks.audit_set import check_images
from infomri_core.attacks.base import Portable
from infomri_core.system.errors import InputError

RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
MAX_LABELS = 4096
SHARED = ("mean", "slopes")
OWN = ("centre", "scale", "limits", "gain")
Key = TypeVar("Key", bound=Hashable)


@final
class DiagnosisFloor(Portable):
    """Image ~ mean + B (gain * logits) by ridge regression on the audit set.

    An attacker who learns nothing beyond the diagnosis does as well as this; the distance of the
    strongest attack from it is what the measurement gives away besides. The penalty is chosen by
    leave-one-out error. Logits are standardised, and limited to the range seen in fitting.
    The images, ``SHARED``, are one set a study (:func:`fit_together`); arms and accelerations
    differ in ``OWN``, a few numbers a label, so that a scoring answers about one set of images.
    """

    name = "diagnosis"
    mean: Tensor
    slopes: Tensor
    centre: Tensor
    scale: Tensor
    limits: Tensor
    gain: Tensor

    def __init__(self, shape: tuple[int, int]) -> None:
        super().__init__(shape)
        self.register_buffer("mean", torch.zeros(self.shape))
        self._allocate(1)

    def fit_logits(self, images: Tensor, logits: Tensor) -> Self:
        """Regress ``images`` (n, H, W) on the model's ``logits`` (n, K) for the same slices."""
        check_images(images, self.shape)
        if logits.ndim != 2 or len(logits) != len(images):
            got = str(tuple(logits.shape))
            raise InputError("diagnosis floor", f"logits ({len(images)}, K)", got, "match them")
        self._allocate(logits.shape[1])
        self.mean = images.mean(0)
        z = self._standardise(logits)
        residual = (images - self.mean).flatten(1).double()
        slopes = _ridge(z, residual)
        self.slopes = slopes.float().view(-1, *self.shape)
        return self

    def _standardise(self, logits: Tensor) -> Tensor:
        x = logits.double()
        self.centre = x.mean(0).float()
        self.scale = x.std(0, correction=0).clamp_min(1e-6).float()
        self.limits = torch.stack((x.amin(0), x.amax(0))).float()
        return ((x - self.centre) / self.scale).double()

    def reconstruct_from(self, logits: Tensor) -> Tensor:
        """Images (B, H, W) in [0, 1] from logits (B, K)."""
        limited = torch.maximum(torch.minimum(logits, self.limits[1]), self.limits[0])
        z = self.gain * (limited - self.centre) / self.scale
        return (self.mean + torch.einsum("bk,khw->bhw", z, self.slopes)).clamp(0, 1)

    def make_room(self, arrays: Mapping[str, np.ndarray]) -> None:
        n_labels = arrays["centre"].shape[0] if "centre" in arrays else 0
        if 1 <= n_labels <= MAX_LABELS:
            self._allocate(n_labels)

    def _allocate(self, n_labels: int) -> None:
        device = self.mean.device
        self.register_buffer("slopes", torch.zeros(n_labels, *self.shape, device=device))
        self.register_buffer("centre", torch.zeros(n_labels, device=device))
        self.register_buffer("scale", torch.ones(n_labels, device=device))
        self.register_buffer("limits", torch.zeros(2, n_labels, device=device))
        self.register_buffer("gain", torch.ones(n_labels, device=device))


def fit_together(images: Tensor, logits: Mapping[Key, Tensor]) -> dict[Key, DiagnosisFloor]:
    """The floor of each arm and acceleration from its ``logits`` (n, K) on ``images`` (n, H, W).

    Mean image and slopes are one for all, by regression on the mean of the standardised logits;
    each has its own ``gain`` of every label in [0, 1], by least squares, as a diagnosis that
    follows the others less tells less.
    """
    shape = (int(images.shape[1]), int(images.shape[2]))
    floors = {key: DiagnosisFloor(shape).to(images.device) for key in logits}
    z: dict[Key, Tensor] = {}
    for key, floor in floors.items():
        floor._allocate(logits[key].shape[1])
        z[key] = floor._standardise(logits[key])
    whole = DiagnosisFloor(shape).to(images.device)
    whole.fit_logits(images, torch.stack(list(z.values())).mean(0).float())
    flat = whole.slopes.flatten(1).double()
    cross = (images - whole.mean).flatten(1).double() @ flat.T
    for key, floor in floors.items():
        gram = (z[key].T @ z[key]) * (flat @ flat.T)
        right = (z[key] * cross).sum(0)
        gain = torch.linalg.lstsq(gram.cpu(), right.cpu()[:, None]).solution[:, 0]
        floor.gain = gain.nan_to_num().clamp(0, 1).float().to(images.device)
        floor.mean, floor.slopes = whole.mean, whole.slopes
    return floors


def _ridge(z: Tensor, target: Tensor) -> Tensor:
    """Coefficients (K, N) for z (n, K), target (n, N), both centred, penalty by leave-one-out.

    With the mean fitted too, the leave-one-out residual is the residual over
    1 - 1/n - z_i^T (Z^T Z + n lambda)^-1 z_i.
    """
    n, n_labels = z.shape
    best: tuple[float, Tensor] | None = None
    for ridge in RIDGES:
        gram = z.T @ z + n * ridge * torch.eye(n_labels, dtype=z.dtype, device=z.device)
        solver = torch.linalg.solve(gram, z.T)
        slopes = solver @ target
        leverage = (1 - 1 / n - (z * solver.T).sum(1)).clamp_min(1e-6)
        error = ((target - z @ slopes) / leverage[:, None]).square().mean().item()
        if best is None or error < best[0]:
            best = error, slopes
    assert best is not None
    return best[1]
