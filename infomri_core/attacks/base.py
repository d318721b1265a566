"""What an attack is: fitted on the audit set, it rebuilds images from sampled k-space."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from infomri_core.sampling import Sampler, SamplingPolicy
from infomri_core.system.errors import InputError

Policies = Sampler | SamplingPolicy | Sequence[Sampler | SamplingPolicy]


class Portable(nn.Module):
    """A fixed architecture whose state is named float32 arrays: nothing else ever travels.

    A site builds it by name and shape and loads the arrays; ``to(device)`` moves it in place.
    """

    name: ClassVar[str]

    def __init__(self, shape: tuple[int, int]) -> None:
        super().__init__()
        self.shape = (int(shape[0]), int(shape[1]))

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The fitted state as float32 arrays by name."""
        return {name: t.detach().cpu().numpy().copy() for name, t in self.state_dict().items()}

    def load(self, arrays: Mapping[str, np.ndarray]) -> Self:
        """Take over what :meth:`to_arrays` gave.

        Raises ``InputError`` (a ``ValueError``) on other names, shapes or types, and on values
        that are not finite.
        """
        self.make_room(arrays)
        state = self.state_dict()
        where = f"attack '{self.name}'"
        if set(arrays) != set(state):
            expected = ", ".join(sorted(state))
            raise InputError(where, f"the arrays {expected}", str(sorted(arrays)), "fit it again")
        for name, tensor in state.items():
            _check(arrays[name], tuple(tensor.shape), f"{where}: {name}")
        self.load_state_dict({n: torch.from_numpy(np.array(a)) for n, a in arrays.items()})
        self.derive()
        return self

    def make_room(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Make room for arrays whose size is part of what was fitted."""

    def derive(self) -> None:
        """Compute what follows from the loaded arrays."""


class Attack(Portable, ABC):
    """Rebuilds images from sampled k-space, given the true mask and noise level.

    On fewer than ``least_images`` an audit does not believe it and refuses to fit it.
    """

    least_images: ClassVar[int] = 1

    @abstractmethod
    def fit(
        self,
        images: Tensor,
        policy: Policies,
        ratios: Sequence[float],
        noise_std: float,
        generator: torch.Generator,
        patients: np.ndarray | None = None,
    ) -> Self:
        """Learn from the audit set's ``images`` (n, H, W) in [0, 1]; returns itself.

        One fit serves every policy at every ratio. ``patients`` (n,) keeps a patient's slices on
        one side where a part is held out; without it, neighbours in ``images`` stay together.
        Raises ``InputError`` without images or with images of another shape.
        """

    @abstractmethod
    def reconstruct(self, measurement: Tensor, mask: Tensor) -> Tensor:
        """Images (B, H, W) in [0, 1] from y (B, H, W) complex64 and masks (B, H, W)."""


def check_images(images: Tensor, shape: tuple[int, int]) -> None:
    """Refuse an audit set that is empty, of another shape, or not of finite numbers."""
    if images.ndim != 3 or len(images) == 0 or tuple(images.shape[1:]) != shape:
        raise InputError(
            "audit set",
            f"images (n >= 1, {shape[0]}, {shape[1]})",
            str(tuple(images.shape)),
            "use audit data of the study's shape",
        )
    if not bool(torch.isfinite(images).all()):
        raise InputError("audit set", "finite pixels", "NaN or infinity", "fix the audit data")


def folds(
    n_images: int, n_folds: int, patients: np.ndarray | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """At most ``n_folds`` splits (kept, held out) of the indices; each image is held out once.

    Whole patients stay together; without ``patients``, blocks of neighbours. A set that cannot be
    split is on both sides.
    """
    everything = np.arange(n_images)
    groups = everything if patients is None else _first_seen(patients)
    n_groups = int(groups.max()) + 1
    if n_groups < 2:
        return [(everything, everything)]
    block = groups * min(n_folds, n_groups) // n_groups
    return [(everything[block != k], everything[block == k]) for k in np.unique(block)]


def _first_seen(patients: np.ndarray) -> np.ndarray:
    """Patients numbered in the order in which they first appear."""
    _, first, inverse = np.unique(patients, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return np.asarray(rank[inverse])


def _check(array: Any, shape: tuple[int, ...], where: str) -> None:
    if array.dtype != np.float32 or array.shape != shape:
        got = f"{array.dtype} {array.shape}"
        raise InputError(where, f"float32 {shape}", got, "fit the attack for this study's shape")
    if not np.isfinite(array).all():
        raise InputError(where, "finite values", "NaN or infinity", "fit the attack again")
