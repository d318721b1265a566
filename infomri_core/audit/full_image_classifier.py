"""Can the task still be done on what an attack rebuilds? A reader of full images is asked."""

from collections.abc import Mapping
from dataclasses import replace
from typing import final

import numpy as np
import torch
from torch import Tensor, nn

from infomri_core.arms.build import build_model
from infomri_core.attacks.base import Portable
from infomri_core.fitting.loop import Stretch
from infomri_core.models.resnet import ResNet18
from infomri_core.plan.plan import Aggregation, Arm, Plan
from infomri_core.suppression.marginal import MarginalEntropy
from infomri_core.system.errors import InputError
from infomri_core.training.fit import train_steps

READER = "reader"
FULL_IMAGE = "full image"
_MIN_WIDTH = 4
_MAX_WIDTH = 128
_MAX_LABELS = 256


@final
class FullImageClassifier(Portable):
    """The task's network for full images (ResNet18 of the plan's width), trained on the audit set.

    It is shown each attack's images as if they were whole scans: its first figure there, against
    that on the true images, says how legible it remains what the task looks for.
    """

    name = READER

    def __init__(self, shape: tuple[int, int]) -> None:
        super().__init__(shape)
        self.network: nn.Module = nn.Identity()

    def fit(
        self, plan: Plan, images: Tensor, targets: Tensor, n_steps: int
    ) -> "FullImageClassifier":
        """Train on ``images`` (n, H, W) with the task's ``targets`` (n, ...); returns itself."""
        full = replace(plan.measurement, ratio_range=(1.0, 1.0))
        model = replace(plan.model, norm="group", input="zero-filled")
        taught = replace(
            plan,
            measurement=full,
            model=model,
            arms=(Arm("uniform"),),
            aggregation=Aggregation(),
            privacy=None,
        )
        classifier = build_model(taught, taught.arms[0]).to(images.device)
        train_steps(
            classifier,
            taught,
            0.0,
            MarginalEntropy(torch.ones(2, *self.shape, device=images.device), full.noise_std),
            len(images),
            lambda rows: (images[rows], targets[rows]),
            Stretch(0, n_steps, n_steps, (plan.study.seed, READER)),
        )
        self.network = classifier.network
        self.eval()
        return self

    @torch.no_grad()
    def output(self, images: Tensor) -> Tensor:
        """The task's output for images (B, H, W) in [0, 1]."""
        read: Tensor = self.network(torch.stack((images, torch.zeros_like(images)), dim=1))
        return read

    def make_room(self, arrays: Mapping[str, np.ndarray]) -> None:
        """A network of the size that the arrays have."""
        mouth, head = arrays.get("network.mouth.weight"), arrays.get("network.head.weight")
        if mouth is None or head is None or mouth.ndim != 4 or head.ndim != 2:
            raise InputError(READER, "the arrays of a reader", str(sorted(arrays)), "fit it again")
        width, n_labels = len(mouth), len(head)
        if not (_MIN_WIDTH <= width <= _MAX_WIDTH and 1 <= n_labels <= _MAX_LABELS):
            expected = f"a width of {_MIN_WIDTH} to {_MAX_WIDTH} and up to {_MAX_LABELS} labels"
            raise InputError(READER, expected, f"{width} and {n_labels}", "fit it again")
        self.network = ResNet18(2, n_labels, self.shape, width)
        self.eval()
