"""Small values by which a task says what it has: its class labels, and its sums under noise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final


class Classes(NamedTuple):
    """What a task with class labels offers attacks that need them: the classes' names, and whether
    exactly one holds for each slice. The targets are then multi-hot (B, K), the output logits."""

    names: tuple[str, ...]
    exclusive: bool


@final
@dataclass(frozen=True)
class Family:
    """Sums under noise that a task makes in every arm at every acceleration: an array of this
    ``shape``, of ``n_blocks`` blocks. One patient moves each block by at most one (in the units of
    :data:`infomri_core.tasks.task.UNIT`) in the Euclidean norm; ``share`` is what of
    the privacy loss it may cost."""

    shape: tuple[int, ...]
    n_blocks: int
    share: float


class Curve(NamedTuple):
    """What should lie on the diagonal: ``points`` (x, y, share of pixels), and the names of both
    axes."""

    title: str
    x: str
    y: str
    points: tuple[tuple[float, float, float], ...]


@final
@dataclass(frozen=True)
class Inspection:
    """What a model does on patients of whom all is known: ``figures`` by what people call them,
    curves, and in words what is wrong with it."""

    figures: Mapping[str, float]
    curves: tuple[Curve, ...] = ()
    concerns: tuple[str, ...] = ()


@final
@dataclass(frozen=True)
class Mismatch:
    """Data that a task cannot be learned from: ``what`` differs, what the plan expects of it,
    and what the data have."""

    what: str
    expected: object
    got: object


@final
@dataclass(frozen=True)
class Demonstration:
    """A study that shows a task: phantoms of ``sites`` and of the ``audit`` set as data URIs, what
    a plan has in ``sections``, and its ``arms``."""

    sites: Mapping[str, str]
    audit: str
    sections: Mapping[str, Mapping[str, Any]]
    arms: Sequence[Mapping[str, Any]]
