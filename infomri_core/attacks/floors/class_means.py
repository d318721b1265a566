"""The diagnosis floor in its plainest form: the mean images of the classes, blended."""

from collections.abc import Mapping
from typing import Self, final

import numpy as np
import torch
from torch import Tensor

from infomri_core.attacks.audit_set import check_images
from infomri_core.attacks.base import Portable
from infomri_core.system.errors import InputError

MAX_PATTERNS = 16
MAX_LABELS = 4096
_PRIOR_WEIGHT = 2.0


@final
class ClassMeans(Portable):
    """Sum over classes of the model's probability times the class's mean image.

    A class is a pattern of labels that occurs in the audit set, at most the 16 most frequent.
    With exclusive labels patterns are one-hot and the probabilities those of the softmax; with
    labels that hold each alone, the product of sigmoids. Either is softmax(patterns @ logits).
    The mean of a rare class is drawn towards the mean image, as if two more images were that.
    """

    name = "class-means"
    means: Tensor
    patterns: Tensor

    def __init__(self, shape: tuple[int, int]) -> None:
        super().__init__(shape)
        self._allocate(1, 1, torch.device("cpu"))

    def fit_labels(self, images: Tensor, labels: np.ndarray) -> Self:
        """Class means of ``images`` (n, H, W) with multi-hot ``labels`` (n, L)."""
        check_images(images, self.shape)
        if labels.ndim != 2 or len(labels) != len(images):
            got = str(labels.shape)
            raise InputError("class means", f"labels ({len(images)}, L)", got, "match them")
        patterns, owner, counts = np.unique(
            labels, axis=0, return_inverse=True, return_counts=True
        )
        chosen = np.argsort(-counts, kind="stable")[:MAX_PATTERNS]
        members = torch.from_numpy(owner.reshape(-1)[None] == chosen[:, None]).to(images)
        total = torch.einsum("pn,nhw->phw", members, images) + _PRIOR_WEIGHT * images.mean(0)
        self.means = total / (members.sum(1) + _PRIOR_WEIGHT)[:, None, None]
        self.patterns = torch.from_numpy(patterns[chosen].astype(np.float32)).to(images)
        return self

    def reconstruct_from(self, logits: Tensor) -> Tensor:
        """Images (B, H, W) in [0, 1] from logits (B, L)."""
        probabilities = (logits.to(self.patterns) @ self.patterns.T).softmax(-1)
        return torch.einsum("bp,phw->bhw", probabilities, self.means).clamp(0, 1)

    def make_room(self, arrays: Mapping[str, np.ndarray]) -> None:
        patterns = arrays.get("patterns")
        if patterns is None or patterns.ndim != 2:
            return
        n_patterns, n_labels = patterns.shape
        if 1 <= n_patterns <= MAX_PATTERNS and 1 <= n_labels <= MAX_LABELS:
            self._allocate(n_patterns, n_labels, self.means.device)

    def _allocate(self, n_patterns: int, n_labels: int, device: torch.device) -> None:
        self.register_buffer("means", torch.zeros(n_patterns, *self.shape, device=device))
        self.register_buffer("patterns", torch.zeros(n_patterns, n_labels, device=device))
