"""How well a task is done, as figures: their names, and how people read them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from infomri_core.physics.images import MAX_PSNR
from infomri_core.summaries.jackknife import Estimate


@final
@dataclass(frozen=True)
class Figure:
    """One figure of a task.

    ``name`` is its key in results and in MLflow; ``title`` what people call it; ``scale`` says in
    words what its values mean, ``reading`` what a better one is. ``digits`` after the point are
    printed, then ``unit``. ``least`` and ``most`` bound it, where it has bounds;
    ``chance`` is what an answer without looking reaches. ``higher``:
    larger is better. ``interval``: it has a 95 % interval.
    """

    name: str
    title: str
    scale: str
    reading: str
    digits: int = 3
    unit: str = ""
    least: float | None = 0.0
    most: float | None = 1.0
    chance: float | None = None
    higher: bool = True
    interval: bool = True

    def form(self, value: float) -> str:
        """The value for people."""
        return f"{value:.{self.digits}f}{self.unit}"

    def span(self, low: float, high: float) -> str:
        """An interval for people; a minus sign is not taken for a dash."""
        between = "-" if low >= 0 else " to "
        return f"{self.form(low)}{between}{self.form(high)}"

    def change(self, value: float) -> str:
        """A difference of two values for people, with its sign."""
        return f"{value:+.{self.digits}f}{self.unit}"

    @property
    def label(self) -> str:
        """Title and scale, for an axis."""
        return f"{self.title} ({self.scale})" if self.scale else self.title


Figures = Mapping[str, Estimate]
"""Estimates by the name of their figure."""


def flat(kinds: Sequence[Figure], found: Figures) -> dict[str, Any]:
    """The estimates of the figures ``kinds`` by ``name``, and of those with an interval also by
    ``name_low``, ``name_high`` and ``name_groups``; None where undefined."""
    values: dict[str, Any] = {}
    for kind in kinds:
        estimate = found.get(kind.name, Estimate(None))
        values[kind.name] = estimate.value
        if kind.interval:
            values[f"{kind.name}_low"] = estimate.low
            values[f"{kind.name}_high"] = estimate.high
            values[f"{kind.name}_groups"] = estimate.n_groups
    return values


def from_flat(kinds: Sequence[Figure], values: Mapping[str, Any]) -> dict[str, Estimate]:
    """The estimates in ``values``, which may hold more than :func:`flat` gives."""
    found = {}
    for kind in kinds:
        parts = [values.get(f"{kind.name}{end}") for end in ("", "_low", "_high", "_groups")]
        if any(part is not None for part in parts):
            value, low, high, groups = parts
            found[kind.name] = Estimate(value, low, high, None if groups is None else int(groups))
    return found


IMAGE_FIGURES: tuple[Figure, ...] = (
    Figure(
        *("image_psnr", "reconstruction PSNR", "mean over images", "higher is a better image"),
        digits=2,
        unit=" dB",
        most=MAX_PSNR,
    ),
    Figure(
        *("image_ssim", "SSIM", "7x7 windows", "higher is a better image"),
        interval=False,
        least=-1.0,
    ),
    Figure(
        *("image_nmse", "NMSE", "squared error over energy", "lower is a better image"),
        digits=4,
        higher=False,
        interval=False,
        most=None,
    ),
    Figure(
        *("image_nll", "NLL", "nats a pixel", "lower is a likelier image"),
        higher=False,
        interval=False,
        least=None,
        most=None,
    ),
    Figure(
        *("image_covered_68", "within 1 sigma", "0.683 is calibrated", "nearer is better"),
        interval=False,
    ),
    Figure(
        *("image_covered_95", "within 2 sigma", "0.954 is calibrated", "nearer is better"),
        interval=False,
    ),
    Figure(
        *("image_ence", "ENCE", "0 is calibrated", "lower is better calibrated"),
        higher=False,
        interval=False,
        most=None,
    ),
    Figure(
        *("image_ause", "AUSE", "0 is the errors' own order", "lower is a better order"),
        higher=False,
        interval=False,
    ),
    Figure(
        *("image_spearman", "rank correlation", "of |error| and sigma", "higher is better"),
        interval=False,
        least=-1.0,
    ),
)
"""Of an image that was rebuilt, with the variance of each pixel; the first is its PSNR."""
