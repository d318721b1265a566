"""What a ProM run is asked for, and how its budget and temperature move."""

from dataclasses import dataclass
from typing import Literal, final, get_args

from infomri_core.patterns.budget import n_samples
from infomri_core.system.errors import InputError

Optimizer = Literal["adam-scaled", "adam"]
Constraint = Literal["2d", "1d"]


@final
@dataclass(frozen=True)
class ProMOptions:
    """Settings of one run. ``published`` gives the paper's.

    ``acceleration`` keeps floor(D / acceleration) points (``2d``) or columns (``1d``). Each of
    ``steps`` steps takes ``batch_size`` images with ``n_masks`` masks each. ``exploration`` and
    ``exploitation`` are the shares of steps before the budget begins to shrink and after it has
    its final size; between them it shrinks with the power ``power``. ``adam`` is Adam with its
    usual epsilon of 1e-8; ``adam-scaled`` has ``kappa`` times the gradient of the S-th best
    position in its place, without which Adam moves all positions equally fast and forgets which
    of them matter. ``edge`` is how near to 0 and 1 a probability's gradient still counts
    (:func:`infomri_core.prom.concrete.concrete_masks`); at 1e-6 positions that early noise
    brought to 0 hardly come back.
    """

    acceleration: float
    constraint: Constraint = "2d"
    steps: int = 600
    batch_size: int = 16
    n_masks: int = 2
    learning_rate: float = 0.01
    optimizer: Optimizer = "adam-scaled"
    kappa: float = 3.0
    exploration: float = 0.1
    exploitation: float = 0.1
    power: float = 3.0
    final_temperature: float = 0.03
    edge: float = 0.03

    @classmethod
    def published(cls, acceleration: float, constraint: Constraint = "2d") -> "ProMOptions":
        """The paper's schedule: 2,500 steps of 32 images with 4 masks each, plain Adam."""
        return cls(acceleration, constraint, 2500, 32, 4, optimizer="adam", edge=1e-6)

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "n_masks"):
            value = getattr(self, name)
            if value < 1:
                raise InputError(f"prom: {name}", "at least 1", f"{value}", "raise it")
        for name, known in (("constraint", Constraint), ("optimizer", Optimizer)):
            value, choices = getattr(self, name), get_args(known)
            if value not in choices:
                expected = " or ".join(choices)
                raise InputError(f"prom: {name}", expected, f"'{value}'", "choose one")

    def budget(self, n: int) -> int:
        """S, the number of points or columns of ``n`` that the final mask has."""
        return n_samples(n, self.acceleration)

    def annealed_budget(self, n: int, step: int) -> float:
        """S_t, from all ``n`` to ``budget`` (ProM, A.1, with the power of the published code)."""
        final = self.budget(n)
        span = max(1e-9, 1 - self.exploration - self.exploitation)
        progress = min(1.0, max(0.0, (step / self.steps - self.exploration) / span))
        return float(final + (n - final) * (1 - progress) ** self.power)

    def temperature(self, step: int) -> float:
        """Linear from 1 to ``final_temperature``."""
        rest = 1 - step / self.steps
        return self.final_temperature + (1 - self.final_temperature) * rest
