"""A fault, when it strikes, and schedules of them: pure functions of a seed."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.faults.world import World

PLAIN = ("enrol", "train", "score", "release")
SECURE = ("announce", "share", "train", "unmask")
MAX_DELAY_SECONDS = 3.0

Heal = Callable[[], None]


@dataclass(frozen=True)
class Shot:
    """``fault``, by name, strikes ``site`` (or the study centre while that site is asked)
    ``delay`` seconds after the task of ``phase`` came; ``number``: its place in the schedule."""

    number: int
    fault: str
    phase: str
    site: str
    delay: float


@dataclass(frozen=True)
class Fault:
    """``strike`` does it and gives what puts right again what a person would have to; that is
    done ``hold`` seconds later or when the run has failed before, or, with 0, when the study has
    ended. ``line``: a pattern of what the
    operator reads, in the site's log, the study's events or how the run ended; '' where a fault
    passes without a word. ``weights``: how far they may be from the undisturbed ones. ``scored``:
    all sites' scores are in the results, too, which are then the undisturbed ones. ``secure``:
    in a federation of three sites under secure aggregation; ``postgres``: in one whose MLflow is
    on PostgreSQL."""

    name: str
    strike: Callable[["World", Shot], Heal | None]
    line: str = ""
    phases: tuple[str, ...] = PLAIN
    hold: float = 0.0
    weights: float = 0.0
    scored: bool = True
    secure: bool = False
    postgres: bool = False


class NotHere(Exception):
    """This machine cannot show the fault; the sentence says why."""


def schedule(faults: Sequence[Fault], seed: int, n: int) -> list[Shot]:
    """``n`` shots of random faults at random moments; each follows from the seed and its number
    alone, so that fewer of them are the same ones."""
    return [shot(faults, seed, number) for number in range(n)]


def shot(faults: Sequence[Fault], seed: int, number: int) -> Shot:
    """The shot of a number. Every fault comes once before one comes again."""
    cycle, place = divmod(number, len(faults))
    order = random.Random(f"{seed} {cycle}").sample(range(len(faults)), len(faults))
    fault, drawn = faults[order[place]], random.Random(f"{seed} {number}")
    phase, site = drawn.choice(fault.phases), drawn.choice("ab")
    return Shot(number, fault.name, phase, site, round(drawn.uniform(0.0, MAX_DELAY_SECONDS), 2))


def smallest(shots: Sequence[Shot], lost: Callable[[Sequence[Shot]], bool]) -> list[Shot]:
    """The least of a schedule that is still ``lost``, by leaving out ever smaller parts
    (Zeller and Hildebrandt 2002); the schedule itself must be."""
    kept, n_parts = list(shots), 2
    if lost(kept[-1:]):
        return kept[-1:]
    while len(kept) > 1:
        size = max(1, len(kept) // n_parts)
        parts = [kept[:start] + kept[start + size :] for start in range(0, len(kept), size)]
        less = next((part for part in parts if part and lost(part)), None)
        if less is not None:
            kept, n_parts = less, max(2, n_parts - 1)
        elif size == 1:
            break
        else:
            n_parts = min(len(kept), 2 * n_parts)
    return kept
