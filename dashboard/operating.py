"""The operating point to choose under a constraint of the user's, and its price in words."""

from collections.abc import Sequence
from dataclasses import dataclass

from dashboard.axes import Axis, Point, attack_of
from infomri_core.results.frontier import Row, label, psnr_of
from infomri_core.results.operating_point import linkage_sentence


@dataclass(frozen=True)
class Suggestion:
    """The most private point that meets the constraint; ``price`` says what it costs and buys."""

    point: Point
    best: Point
    price: str


def suggest(
    points: Sequence[Point], x: Axis, y: Axis, least: float, attack: str
) -> Suggestion | None:
    """Of the points with y at least ``least`` the one with the lowest x; None where none has."""
    enough = [p for p in points if p.y >= least]
    if not enough:
        return None
    chosen = min(enough, key=lambda p: (p.x, -p.y))
    best = max(points, key=lambda p: (p.y, -p.x))
    return Suggestion(chosen, best, _price(chosen, best, points, x, y, least, attack))


def default_least(points: Sequence[Point], y: Axis, attack: str) -> float:
    """A constraint to start from: as good as the best point, within its interval."""
    best = max(points, key=lambda p: (p.y, -p.x))
    low, _ = y.interval(best.row, attack)
    return best.y if low is None else low


def _price(
    chosen: Point,
    best: Point,
    points: Sequence[Point],
    x: Axis,
    y: Axis,
    least: float,
    attack: str,
) -> str:
    rows = [p.row for p in points]
    sentences = [_what(chosen, rows, x, y), _against(chosen, best, rows, x, y)]
    sentences.append(_left(chosen.row, attack))
    low, _ = y.interval(chosen.row, attack)
    if low is not None and low < least:
        sentences.append(
            f"Its 95 % interval reaches down to {y.form(low)}, below what you asked for."
        )
    weak = attack_of(chosen.row, attack)
    if weak and weak not in chosen.row.certified:
        sentences.append(f"The attack '{weak}' failed its own test: it may understate the risk.")
    return " ".join(sentence for sentence in sentences if sentence)


def _what(chosen: Point, rows: Sequence[Row], x: Axis, y: Axis) -> str:
    at = f"{label(chosen.row, rows)} at {chosen.row.acceleration:g}x"
    return f"{at}: {y.name} {y.form(chosen.y)}, {x.name} {x.form(chosen.x)}."


def _against(chosen: Point, best: Point, rows: Sequence[Row], x: Axis, y: Axis) -> str:
    if chosen.row is best.row:
        return f"No arm does its task better: no {y.name} was given up."
    taken, cost = best.x - chosen.x, best.y - chosen.y
    if taken <= 0:
        return ""
    price = f"costs {y.form(cost)} {y.name}" if cost >= 5e-4 else f"costs no {y.name}"
    return (
        f"Against the best {best.row.answer} ({label(best.row, rows)}) it {price} "
        f"and lowers the attacker's {x.name} by {x.form(taken)}."
    )


def _left(row: Row, attack: str) -> str:
    psnr, ideal = psnr_of(row, attack), row.psnr_answer
    if psnr is None or ideal is None:
        return ""
    name = attack_of(row, attack)
    if psnr <= ideal:
        rebuilt = f"The attack '{name}' rebuilds no more than the {row.answer} alone gives away."
    else:
        rebuilt = (
            f"The attack '{name}' still rebuilds images {psnr - ideal:.1f} dB better than the "
            f"{row.answer} alone allows."
        )
    return f"{rebuilt} {linkage_sentence(row)}"
