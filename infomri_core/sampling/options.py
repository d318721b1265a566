"""What a sampler is to the rest of the system: options in a plan, rules, words and looks."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import ClassVar, Literal, NamedTuple, final

import torch

from infomri_core.sampling.masks import Method
from infomri_core.sampling.policy import Constraint
from infomri_core.sampling.sampler import Sampler
from infomri_core.tasks.task import Rule

Start = Literal["spectral", "random"]


class Style(NamedTuple):
    """How a sampler is drawn in every figure.

    Attributes:
        name: In a legend.
        colour: Hex; Okabe and Ito's are told apart by the colour-blind.
        marker: matplotlib's.
        symbol: plotly's.
    """

    name: str
    colour: str = "#CC79A7"
    marker: str = "D"
    symbol: str = "diamond"


@final
@dataclass(frozen=True)
class Setting:
    """The measurement that a sampler is made for: what all arms of a plan share.

    Args:
        shape: (H, W) of the images.
        constraint: Points ("2d") or whole columns ("1d") are sampled.
        method: How masks are drawn from probabilities, see ``draw_masks``.
        start: Where a learned sampler starts, at the images' spectrum or at random.
        ratio_range: Least and greatest ratio that training may draw.
        ratios: Those of the plan's accelerations.
    """

    shape: tuple[int, int]
    constraint: Constraint = "2d"
    method: Method = "systematic"
    start: Start = "spectral"
    ratio_range: tuple[float, float] = (0.02, 0.16)
    ratios: tuple[float, ...] = ()

    @property
    def grid(self) -> tuple[int, int]:
        """The units that are drawn: (H, W) points, or (1, W) columns."""
        return self.shape if self.constraint == "2d" else (1, self.shape[1])

    @property
    def one_ratio(self) -> bool:
        """Whether training and scoring know a single ratio."""
        low, high = self.ratio_range
        return high - low <= 1e-9


@dataclass(frozen=True)
class SamplerOptions(ABC):
    """One subclass a sampler, registered by name: a frozen value from the arm in the plan. Its
    fields are the keys that may stand under the arm."""

    name: ClassVar[str]
    style: ClassVar[Style]
    title: ClassVar[str]
    """Its name for people in an arm's name."""
    learns: ClassVar[bool] = False
    """Whether it has parameters; only then a suppression can move it."""
    yardstick: ClassVar[bool] = False
    """Whether it only says what could be reached: no front and no operating point has it."""
    of_patient: ClassVar[bool] = False
    """Whether its mask depends on what it measures: such a mask tells of the patient."""

    straight_through: ClassVar[bool] = True
    """Whether a mask's gradient goes to its probability unchanged, which DP-SGD rests on."""

    def tags(self) -> tuple[str, ...]:
        """What tells two arms of this sampler apart, as parts of the arm's name."""
        return ()

    def parameters(self) -> dict[str, object]:
        """The options as short values, for tables and MLflow."""
        return asdict(self)

    def rules(self, setting: Setting) -> list[Rule]:
        """What makes the arm impossible, each key under the arm.

        Args:
            setting: What the arm's plan measures.
        """
        return []

    def only(self, constraint: Constraint, setting: Setting) -> Rule:
        """The rule of a pattern that exists for one kind of mask.

        Args:
            constraint: The kind it exists for.
            setting: What the arm's plan measures.
        """
        wanted = f"{self.name} with [measurement] constraint = '{constraint}' only"
        return setting.constraint == constraint, "sampler", wanted, setting.constraint

    @abstractmethod
    def describe(self) -> str:
        """Which points it measures, for the person who approves a plan."""

    @abstractmethod
    def build(
        self,
        setting: Setting,
        variance: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Sampler:
        """A fresh sampler.

        Args:
            setting: What the arm's plan measures.
            variance: (2, H, W) of the real and imaginary parts of k-space, from which a spectral
                start or a spectrum begins; None where weights are loaded afterwards.
            generator: Of random starting weights.
        """
