"""What an attack is: fitted on the audit set, it rebuilds images from sampled k-space."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self, final

import numpy as np
import torch
from torch import Tensor, nn

from infomri_core.attacks.audit_set import AuditSet
from infomri_core.system.config import build
from infomri_core.system.errors import InputError
from infomri_core.tasks.task import Task


class Portable(nn.Module):
    """A fixed architecture whose state is named float32 arrays: nothing else ever travels.

    A site builds it by name and shape and loads the arrays; ``to(device)`` moves it in place.

    Args:
        shape: (H, W) of the images.
    """

    name: ClassVar[str]

    def __init__(self, shape: tuple[int, int]) -> None:
        super().__init__()
        self.shape = (int(shape[0]), int(shape[1]))

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The fitted state as float32 arrays by name."""
        return {name: t.detach().cpu().numpy().copy() for name, t in self.state_dict().items()}

    def load(self, arrays: Mapping[str, np.ndarray]) -> Self:
        """Take over what ``to_arrays`` gave.

        Args:
            arrays: Float32, by name.

        Raises:
            InputError: Other names, shapes or types, or values that are not finite.
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


class Style(NamedTuple):
    """How an attack is drawn in every figure.

    Attributes:
        colour: Hex.
        line: matplotlib's line style.
        dash: plotly's.
    """

    colour: str = "#888888"
    line: str = "-"
    dash: str = "solid"


@final
@dataclass(frozen=True)
class NoOptions:
    """The options of an attack that has none."""


class Attack(Portable, ABC):
    """Rebuilds images from sampled k-space, given the true mask and noise level.

    Its class says all that plans, audits, figures and help need to know of it.

    Args:
        shape: (H, W) of the images.
        options: Fields of ``options_class``.
    """

    title: ClassVar[str] = ""
    """What it does, in a few words for people."""
    style: ClassVar[Style] = Style()
    options_class: ClassVar[type[Any]] = NoOptions
    """A frozen dataclass of what it may be built with; ``n_steps`` are its optimizer steps."""
    least_images: ClassVar[int] = 1
    """On fewer an audit does not believe it and refuses to fit it."""
    linear: ClassVar[bool] = False
    """Whether it is linear in y and fitted in closed form: where a plan asks for attacks of the
    site itself, sites fit it on their own patients."""
    adapt_rank: ClassVar[int] = 0
    """Whether sites may train it further: of a plan's attacks, the one with the highest."""
    needs_labels: ClassVar[bool] = False
    """Whether it is fitted on the audit set's labels: only tasks with classes have them."""

    def __init__(self, shape: tuple[int, int], **options: Any) -> None:
        super().__init__(shape)
        self.options: Any = build(self.options_class, options, f"attack '{self.name}'")

    @classmethod
    def serves(cls, task: Task) -> bool:
        """Whether a plan of that task may name it."""
        return not cls.needs_labels or task.classes is not None

    @abstractmethod
    def fit(self, audit_set: AuditSet) -> Self:
        """Learn from the audit set; returns itself. One fit serves every sampler at every ratio.

        Raises:
            InputError: No images, or images of another shape.
        """

    @abstractmethod
    def reconstruct(self, measurement: Tensor, mask: Tensor) -> Tensor:
        """Images from what was measured.

        Args:
            measurement: y, complex64 (B, H, W).
            mask: (B, H, W) of zeros and ones.

        Returns:
            (B, H, W) in [0, 1].
        """


def _check(array: Any, shape: tuple[int, ...], where: str) -> None:
    if array.dtype != np.float32 or array.shape != shape:
        got = f"{array.dtype} {array.shape}"
        raise InputError(where, f"float32 {shape}", got, "fit the attack for this study's shape")
    if not np.isfinite(array).all():
        raise InputError(where, "finite values", "NaN or infinity", "fit the attack again")
