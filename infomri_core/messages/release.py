"""Release of sampled k-space as typed values: what is asked, and all that may answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np

from infomri_core.messages.wire import Message
from infomri_core.system.errors import Refused

MAX_ACCELERATION = 1e9
"""Far above any measurement: no plane has so many points."""


@dataclass(frozen=True)
class ReleaseTask:
    """Ask for y of consented patients under one arm's mask at one acceleration.

    Args:
        plan_text: The whole plan.
        deadline: Unix time, seconds.
        weights: The arm's, flat float32, after the last round.
    """

    plan_text: str
    round: int
    deadline: float
    arm: str
    acceleration: float
    weights: np.ndarray

    def to_message(self) -> Message:
        header = {
            "plan": self.plan_text,
            "round": self.round,
            "deadline": self.deadline,
            "arm": self.arm,
            "acceleration": self.acceleration,
        }
        return Message("release", header, {"weights": self.weights})


@dataclass(frozen=True)
class ReleasedPatient:
    """One patient's k-space. There is no room for values at other points.

    Args:
        mask: Bool (H, W), the same for all slices.
        values: Complex64 (n_slices, n_points), at the mask's points in row-major order.
    """

    mask: np.ndarray
    values: np.ndarray

    def kspace(self) -> np.ndarray:
        """y (n_slices, H, W) complex64, zero where nothing was sampled."""
        full = np.zeros((len(self.values), *self.mask.shape), np.complex64)
        full[:, self.mask] = self.values
        return full


@dataclass(frozen=True)
class ReleaseReply:
    """Sampled k-space of consenting patients.

    Args:
        shape: (H, W) of the slices.
        patients: By pseudonym, which holds within one study only.
    """

    arm: str
    acceleration: float
    shape: tuple[int, int]
    patients: Mapping[str, ReleasedPatient]

    def to_message(self) -> Message:
        header = {"arm": self.arm, "acceleration": self.acceleration, "shape": list(self.shape)}
        arrays = {}
        for name, patient in self.patients.items():
            arrays[f"{name}/mask"] = np.packbits(patient.mask)
            arrays[f"{name}/values"] = patient.values
        return Message("released", header, arrays)


def release_task_from(message: Message, plan: str, number: int, deadline: float) -> ReleaseTask:
    """The rest of a release task. Raises ``Refused("bad-message")``."""
    arm, acceleration = message.header.get("arm"), message.header.get("acceleration")
    whole = isinstance(arm, str) and set(message.arrays) == {"weights"}
    is_number = isinstance(acceleration, int | float) and not isinstance(acceleration, bool)
    # Before float(): a whole number on the wire can be beyond the largest float.
    if not whole or not is_number or not 0 < cast(float, acceleration) <= MAX_ACCELERATION:
        raise Refused("bad-message", "a release task without a proper arm, acceleration, weights")
    weights = message.arrays["weights"]
    return ReleaseTask(plan, number, deadline, str(arm), float(cast(float, acceleration)), weights)


def released_from(message: Message) -> ReleaseReply:
    """The release in a message; ``ValueError`` or ``KeyError`` when it has not the form."""
    height, width = (int(n) for n in message.header["shape"])
    if not (0 < height <= 4096 and 0 < width <= 4096):
        raise ValueError("shape")
    names = sorted({key.partition("/")[0] for key in message.arrays})
    patients = {}
    for name in names:
        packed, values = message.arrays[f"{name}/mask"], message.arrays[f"{name}/values"]
        if packed.dtype != np.uint8 or packed.shape != ((height * width + 7) // 8,):
            raise ValueError("mask")
        mask = np.unpackbits(packed, count=height * width).astype(bool).reshape(height, width)
        if values.dtype != np.complex64 or values.ndim != 2 or values.shape[1] != mask.sum():
            raise ValueError("values")
        patients[name] = ReleasedPatient(mask, values)
    acceleration = float(message.header["acceleration"])
    return ReleaseReply(str(message.header["arm"]), acceleration, (height, width), patients)
