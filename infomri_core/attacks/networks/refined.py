"""Networks that start from the closed-form estimate and improve on it."""

import copy
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from infomri_core.attacks.audit_set import AuditSet, check_images
from infomri_core.attacks.linear.lmmse import LMMSE
from infomri_core.attacks.networks.learned import LearnedAttack, Learning
from infomri_core.system.errors import InputError

WIDTHS = (8, 16, 32, 64)
N_STARTS = 3
REST = 0.5
"""Variance a network's answer is left with, relative to the prior's, against the data's."""


def check_width(width: float | None, where: str) -> int:
    """``width`` as an int. ``InputError`` unless it is one of ``WIDTHS``."""
    if width is None or width not in WIDTHS:
        raise InputError(where, f"a width of {WIDTHS}", str(width), "choose one")
    return int(width)


def width_in(arrays: Mapping[str, np.ndarray], where: str) -> int:
    """The width that travels in a network's arrays. ``InputError`` without a known one."""
    width = arrays.get("width")
    if width is None or width.shape != (1,):
        return check_width(None, where)
    return check_width(float(width[0]), where)


@dataclass(frozen=True)
class Refining(Learning):
    """``width`` of the network: 64 is the paper's size; 16 serves a small audit set and a CPU."""

    width: int = 16

    def __post_init__(self) -> None:
        check_width(self.width, "an attack's network")


class WideAttack(LearnedAttack):
    """A network whose width is chosen, and travels with its weights."""

    width: Tensor
    options_class = Refining
    _loaded_width: int | None = None

    def __init__(self, shape: tuple[int, int], **options: Any) -> None:
        super().__init__(shape, **options)
        self.register_buffer("width", torch.full((1,), float(self.n_channels)))

    @property
    def n_channels(self) -> int:
        """The network's width: that of the loaded arrays, or as it was asked for."""
        return self._loaded_width or int(self.options.width)

    def make_room(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._loaded_width = width_in(arrays, f"attack '{self.name}'")
        self.network = self._fresh(0).to(self.width.device)


class RefinedAttack(WideAttack):
    """An improvement on LMMSE, never to be trained on an estimate that has seen the image.

    While it trains, an image's LMMSE comes from a covariance fitted on the other folds of
    patients.
    """

    def __init__(self, shape: tuple[int, int], **options: Any) -> None:
        self._strangers: list[LMMSE] = []
        self._stranger_of = torch.zeros(0, dtype=torch.long)
        super().__init__(shape, **options)
        self.start = LMMSE(self.shape)

    @abstractmethod
    def improve(self, measurement: Tensor, mask: Tensor, start: Tensor) -> Tensor:
        """Images (B, H, W), not yet clipped, from y, masks and the LMMSE estimate."""

    def fit(self, audit_set: AuditSet) -> Self:
        check_images(audit_set.images, self.shape)
        images, generator = audit_set.images, audit_set.generator
        self.start.fit(audit_set)
        parts = audit_set.folds(N_STARTS)
        stranger_of = np.zeros(len(images), dtype=np.int64)
        strangers = []
        for number, (kept, held) in enumerate(parts):
            strangers.append(copy.deepcopy(self.start).refit(images[kept], generator))
            stranger_of[held] = number
        self._strangers = strangers
        self._stranger_of = torch.from_numpy(stranger_of).to(images.device)
        super().fit(audit_set)
        self._strangers = []
        return self

    def predict(self, measurement: Tensor, mask: Tensor) -> Tensor:
        return self.improve(measurement, mask, self.start.reconstruct(measurement, mask))

    def practise(self, measurement: Tensor, mask: Tensor, rows: Tensor) -> Tensor:
        if not self._strangers:
            return self.predict(measurement, mask)
        start = torch.zeros_like(mask)
        for number, stranger in enumerate(self._strangers):
            part = self._stranger_of[rows] == number
            if part.any():
                start[part] = stranger.reconstruct(measurement[part], mask[part])
        return self.improve(measurement, mask, start)

    def make_room(self, arrays: Mapping[str, np.ndarray]) -> None:
        super().make_room(arrays)
        start = {n.removeprefix("start."): a for n, a in arrays.items() if n.startswith("start.")}
        self.start.make_room(start)

    def derive(self) -> None:
        self.start.derive()
