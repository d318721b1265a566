"""Suppression against its rival: no suppression and fewer points, at an equal utility.

Along the arm with beta = 0, higher accelerations give the attacker less and serve the task
worse. A suppressed arm pays only where it lies below that curve: its strongest attack is weaker
than that on the curve where the utility is the same.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

from infomri_core.results.arm_names import strength_label
from infomri_core.results.frontier import FEDERATED, Row, pareto, utility_of
from infomri_core.results.operating_point import least_utility
from infomri_core.summaries.jackknife import Estimate

PAIRED = "paired, by groups of patients"
CONSERVATIVE = "conservative: the widths of all"
META = "measuring_less"
"""Where a study's meta holds :func:`to_json` of its comparisons."""


class Point(NamedTuple):
    """A row's utility, and the PSNR of the strongest attack in dB."""

    utility: float
    psnr: float


@final
@dataclass(frozen=True)
class Comparison:
    """A suppressed ``row`` beside beta = 0 at an equal utility.

    ``between``: the two rows of the curve on either side, the one that measures less first; the
    same row twice where even the fewest points tried do as well, which makes ``gain`` an
    upper bound. ``gain``: dB by which the strongest attack on ``row`` lies below the curve.
    """

    row: Row
    between: tuple[Row, Row]
    gain: Estimate
    how: str = CONSERVATIVE

    @property
    def bound(self) -> bool:
        """Whether ``gain`` is an upper bound: still fewer points were not tried."""
        return self.between[0] is self.between[1]


def comparisons(rows: Sequence[Row], meta: Mapping[str, Any] | None = None) -> list[Comparison]:
    """Each suppressed row that has a place on its curve; paired intervals where ``meta`` has them.

    The curve is that of the same sampler and seed with beta = 0: the lower convex hull of its
    Pareto-optimal rows, since who measures scans now at one acceleration, now at another, gets
    the line between them. A row whose utility no acceleration of it reaches has no comparison.
    """
    stored = {(item["arm"], item["acceleration"]): item for item in (meta or {}).get(META) or []}
    found = []
    for row in rows:
        between = bracket(row, rows)
        if between is None:
            continue
        item = stored.get((row.arm, row.acceleration))
        if item is not None and item["between"] == _names(between):
            gain = Estimate(*(item["gain"][end] for end in ("value", "low", "high")))
            found.append(Comparison(row, between, gain, item["how"]))
        else:
            found.append(Comparison(row, between, _conservative(row, between)))
    return found


def to_json(found: Comparison) -> dict[str, Any]:
    """The comparison as JSON values, which :func:`comparisons` reads."""
    gain = {"value": found.gain.value, "low": found.gain.low, "high": found.gain.high}
    place = {"arm": found.row.arm, "acceleration": found.row.acceleration}
    return {**place, "between": _names(found.between), "gain": gain, "how": found.how}


def chosen(rows: Sequence[Row], meta: Mapping[str, Any] | None = None) -> Comparison | None:
    """The comparison that answers for the study: of the suppressed rows whose utility is as good
    as the best one's, within its 95 % interval, that with the lowest PSNR. None where no
    suppressed row is that good, or none has a comparison."""
    least = least_utility(rows)
    enough = [
        found
        for found in comparisons(rows, meta)
        if least is not None and (found.row.utility.value or 0.0) >= least
    ]
    return min(enough, key=lambda found: found.row.psnr_worst or 0.0, default=None)


def sentence(rows: Sequence[Row], meta: Mapping[str, Any] | None = None) -> str:
    """What suppression is worth against measuring less, in plain words; '' where no row of a
    study is suppressed."""
    suppressed = [row for row in rows if row.beta > 0]
    if not suppressed:
        return ""
    if not any(_rivals(row, rows) for row in suppressed):
        return (
            "Whether suppression beats measuring less is not known: no arm with beta = 0 of the "
            "same sampler and seed was scored beside it."
        )
    found = chosen(rows, meta)
    if found is None:
        return (
            "Suppression was not compared with measuring less: of the suppressed arms that do the "
            "task as well as the best one, within its 95 % interval, none has a utility that "
            "beta = 0 reaches as well."
        )
    return _said(found)


def bracket(row: Row, rows: Sequence[Row]) -> tuple[Row, Row] | None:
    """The rows of the curve of beta = 0 on either side of a suppressed row's utility."""
    u = row.utility.value
    if row.training != FEDERATED or row.beta <= 0 or u is None or row.psnr_worst is None:
        return None
    curve = _hull(pareto(_rivals(row, rows)))
    if not curve or u > (curve[-1].utility.value or 0.0):
        return None
    if u <= (curve[0].utility.value or 0.0):
        return curve[0], curve[0]
    return next(pair for pair in itertools.pairwise(curve) if u <= (pair[1].utility.value or 0.0))


def _hull(front: Sequence[Row]) -> list[Row]:
    """The rows of a front below whose connecting lines no other lies, by rising utility."""
    kept: list[Row] = []
    for row in sorted(front, key=lambda r: r.utility.value or 0.0):
        while len(kept) > 1 and gain(point_of(kept[-1]), point_of(kept[-2]), point_of(row)) <= 0:
            kept.pop()
        kept.append(row)
    return kept


def gain(row: Point, less: Point, more: Point) -> float:
    """dB by which ``row`` lies below the line from ``less`` to ``more`` at its own utility."""
    return less.psnr + _share(row, less, more) * (more.psnr - less.psnr) - row.psnr


def _share(row: Point, less: Point, more: Point) -> float:
    span = more.utility - less.utility
    return (row.utility - less.utility) / span if span else 0.0


def point_of(row: Row) -> Point:
    """The row's place; it must have one."""
    if row.utility.value is None or row.psnr_worst is None:
        raise ValueError(f"{row.arm} at {row.acceleration:g}x: a figure is undefined")
    return Point(row.utility.value, row.psnr_worst)


def _rivals(row: Row, rows: Sequence[Row]) -> list[Row]:
    same = (row.sampler, row.seed, row.task)
    return [r for r in rows if r.beta == 0 and (r.sampler, r.seed, r.task) == same]


def _conservative(row: Row, between: tuple[Row, Row]) -> Estimate:
    """The gain with an interval from the widths of all that it depends on, to first order: no
    correlation between them makes it wider."""
    at, less, more = point_of(row), *map(point_of, between)
    value, share = gain(at, less, more), _share(at, less, more)
    span = more.utility - less.utility
    slope = (more.psnr - less.psnr) / span if span else 0.0
    parts = [(1.0, _half_psnr(row)), (1 - share, _half_psnr(between[0]))]
    parts += [(share, _half_psnr(between[1]))] if span else []
    if slope:
        parts += [(slope, _half(row.utility)), (slope * (1 - share), _half(between[0].utility))]
        parts += [(slope * share, _half(between[1].utility))]
    widths = [None if half is None else abs(weight) * half for weight, half in parts]
    known = [width for width in widths if width is not None]
    if len(known) < len(widths):
        return Estimate(value)
    return Estimate(value, value - sum(known), value + sum(known))


def _half(found: Estimate) -> float | None:
    """The longer arm of an interval."""
    if found.value is None or found.low is None or found.high is None:
        return None
    return max(found.high - found.value, found.value - found.low)


def _half_psnr(row: Row) -> float | None:
    name = row.worst_attack or ""
    return _half(Estimate(row.psnr_worst, row.psnr_low.get(name), row.psnr_high.get(name)))


def _names(between: tuple[Row, Row]) -> list[list[Any]]:
    return [[row.arm, row.acceleration] for row in between]


def _said(found: Comparison) -> str:
    figure, g, row = utility_of([found.row]), found.gain, found.row
    strength = f"beta = {row.beta:g}" if row.psnr_target is None else strength_label(row)
    value, low, high = g.value or 0.0, g.low, g.high
    around = "no interval" if low is None or high is None else f"{low:+.1f} to {high:+.1f}"
    if low is not None and low > 0 and not found.bound:
        start = "Suppression beats measuring less"
    elif (high is not None and high < 0) or (high is None and value < 0):
        start = "Suppression does not beat measuring less"
    else:
        start = "Suppression is not shown to beat measuring less"
    less, more = (f"{row.acceleration:g}x" for row in found.between)
    where = f"at {less}, the fewest points tried" if found.bound else f"between {more} and {less}"
    at = f"{figure.title} {figure.form(found.row.utility.value or 0.0)}"
    side, most = "below" if value >= 0 else "above", "at most " if found.bound else ""
    return (
        f"{start}: at {at} the strongest attack on {strength} at "
        f"{found.row.acceleration:g}x lies {most}{abs(value):.1f} dB {side} that on beta = 0, "
        f"which does as well {where} (gain {value:+.1f} dB, 95 % interval: {around})."
    )
