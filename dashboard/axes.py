"""What the frontier's axes can show: how well the task is done, and how much an attacker gets."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from infomri_core.results.frontier import FEDERATED, Row, psnr_of
from infomri_core.sampling.registry import is_yardstick
from infomri_core.tasks.figures import Figure
from infomri_core.tasks.registry import DEFAULT, figures_of

WORST = "worst"
Interval = tuple[float | None, float | None]
_NONE: Interval = (None, None)


@dataclass(frozen=True)
class Axis:
    """One figure of a row under an attack. ``reading`` says what better means; ``form`` formats a
    value with its unit; ``limits`` bound it, where it has bounds."""

    name: str
    title: str
    reading: str
    value: Callable[[Row, str], float | None]
    interval: Callable[[Row, str], Interval]
    form: Callable[[float], str]
    limits: tuple[float | None, float | None] = (None, None)


class Point(NamedTuple):
    """A row at its place: utility ``y`` up, what the attacker gets ``x`` to the right."""

    row: Row
    x: float
    y: float


def attack_of(row: Row, attack: str) -> str:
    """The attack's name; of ``WORST``, that of the strongest against this row."""
    return (row.worst_attack or "") if attack == WORST else attack


def place(rows: Sequence[Row], x: Axis, y: Axis, attack: str) -> list[Point]:
    """The rows for which both figures are defined."""
    return [
        Point(row, at, up)
        for row in rows
        if (at := x.value(row, attack)) is not None and (up := y.value(row, attack)) is not None
    ]


def front(points: Sequence[Point]) -> list[Point]:
    """Points that no other beats: y at least as high, x at least as low, one better. Yardsticks,
    which no one can choose, are left out."""
    points = choosable(points)
    return [
        p
        for p in points
        if not any(q.x <= p.x and q.y >= p.y and (q.x < p.x or q.y > p.y) for q in points)
    ]


def choosable(points: Sequence[Point]) -> list[Point]:
    """Those whose sampler is one that could be used."""
    return [p for p in points if p.row.training == FEDERATED and not is_yardstick(p.row.sampler)]


class Ceiling(NamedTuple):
    """How well the task could be done with all of k-space: its first figure, and whose it is."""

    utility: float
    whose: str


def ceiling(rows: Sequence[Row]) -> Ceiling | None:
    """That of an arm at acceleration 1, or else of the network that the audit trained on its
    own patients' full images; None where a study has neither."""
    found = [row.utility.value for row in rows if row.acceleration == 1]
    full = [value for value in found if value is not None]
    if full:
        return Ceiling(max(full), "all of k-space")
    read = [row.legibility["full image"] for row in rows if "full image" in row.legibility]
    return Ceiling(max(read), "full images, the audit's reader") if read else None


def _psnr_interval(row: Row, attack: str) -> Interval:
    name = attack_of(row, attack)
    return row.psnr_low.get(name), row.psnr_high.get(name)


def _gain(row: Row, attack: str) -> float | None:
    return _beyond_floor(row, psnr_of(row, attack))


def _gain_interval(row: Row, attack: str) -> Interval:
    low, high = _psnr_interval(row, attack)
    return _beyond_floor(row, low), _beyond_floor(row, high)


def _beyond_floor(row: Row, psnr: float | None) -> float | None:
    return None if psnr is None or row.psnr_prior is None else psnr - row.psnr_prior


def _ssim(row: Row, attack: str) -> float | None:
    return max(row.ssim.values(), default=None) if attack == WORST else row.ssim.get(attack)


def _decibel(value: float) -> str:
    return f"{value:.1f} dB"


def _share(value: float) -> str:
    return f"{value:.3f}"


PSNR = Axis("PSNR", "PSNR (dB)", "lower is more private", psnr_of, _psnr_interval, _decibel)
GAIN = Axis(
    "gain",
    "PSNR beyond the floor (dB)",
    "lower is more private",
    _gain,
    _gain_interval,
    _decibel,
)
SSIM = Axis(
    "SSIM", "SSIM (0 to 1)", "lower is more private", _ssim, lambda row, attack: _NONE, _share
)
EPSILON = Axis(
    "epsilon",
    "epsilon of the weights",
    "lower is more private",
    lambda row, attack: row.epsilon,
    lambda row, attack: _NONE,
    lambda value: f"epsilon {value:.2f}",
)
PRIVACY = (PSNR, GAIN, SSIM, EPSILON)


def utility_axes(rows: Sequence[Row]) -> list[Axis]:
    """The figures of the rows' task of which more is better, the first one first."""
    kind = rows[0].task if rows else DEFAULT
    return [_axis(figure) for figure in figures_of(kind) if figure.higher]


def _axis(figure: Figure) -> Axis:
    def interval(row: Row, attack: str) -> Interval:
        return row.figure(figure.name).low, row.figure(figure.name).high

    return Axis(
        *(figure.title, figure.label, figure.reading),
        lambda row, attack: row.figure(figure.name).value,
        interval,
        figure.form,
        (figure.least, figure.most),
    )


def defined(axes: Sequence[Axis], rows: Sequence[Row]) -> list[Axis]:
    """Those of the axes for which at least one row has a figure."""
    return [a for a in axes if any(a.value(row, WORST) is not None for row in rows)]
