"""Runs a schedule, shot by shot, and says of each study what became of it."""

import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.faults.database import Database
from benchmarks.faults.fault import Fault, Heal, NotHere, Shot
from benchmarks.faults.registry import BY_NAME
from benchmarks.faults.world import NAMES, TASK, World
from infomri_core.machine import processes

Kind = tuple[bool, bool]
STANDS_FOR = 10
"""So many studies one federation serves before a fresh one is set up."""


@dataclass(frozen=True)
class Result:
    """What became of a shot: ``ended`` in words, '' where it was lost; ``seconds`` of the study
    and ``extra`` next to an undisturbed one in the same federation; ``distance`` of the weights;
    ``line`` that the operator read; ``why`` it was lost, or was not shown here."""

    shot: Shot
    ended: str
    seconds: float = 0.0
    extra: float = 0.0
    distance: float = 0.0
    line: str = ""
    why: str = ""

    @property
    def lost(self) -> bool:
        """Whether it did not end as it should."""
        return not self.ended

    @classmethod
    def from_json(cls, table: dict[str, Any]) -> "Result":
        """What :meth:`to_json` made."""
        return cls(**table | {"shot": Shot(**table["shot"])})

    def to_json(self) -> dict[str, Any]:
        """For a file of results."""
        return asdict(self)


class Stands(ExitStack):
    """Federations that stand one after another: a plain one, one under secure aggregation, one
    whose MLflow is on PostgreSQL; each is set up when first needed, and given up after a lost shot
    or :data:`STANDS_FOR` studies."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder, self._n = folder, 0
        self._worlds: dict[Kind, tuple[World, float, int]] = {}
        self.callback(self.end)

    def world(self, fault: Fault) -> tuple[World, float]:
        """A standing federation for a fault, and the seconds of an undisturbed study in it."""
        kind = (fault.secure, fault.postgres)
        if kind in self._worlds:
            world, seconds, left = self._worlds[kind]
            if left > 0:
                self._worlds[kind] = (world, seconds, left - 1)
                return world, seconds
            self._give_up(kind)
        self._n += 1
        world = self._made(fault)
        self._worlds[kind] = (world, 0.0, STANDS_FOR)
        world.open()
        started = time.monotonic()
        world.begin(f"undisturbed{self._n}")
        world.end(None, 0.0)
        seconds = time.monotonic() - started
        assert world.distance() == 0.0
        world.undisturbed = world.rows()
        self._worlds[kind] = (world, seconds, STANDS_FOR - 1)
        return world, seconds

    def _made(self, fault: Fault) -> World:
        folder = self._folder / f"world{self._n}"
        if not fault.postgres:
            return World(folder, secure=fault.secure)
        database = Database()
        with ExitStack() as started:
            started.enter_context(database)
            world = World(folder, secure=fault.secure, database=database)
            world.push(started.pop_all())
        return world

    def end(self) -> None:
        """Give all federations up."""
        for kind in list(self._worlds):
            self._give_up(kind)

    def _give_up(self, kind: Kind) -> None:
        world, _, _ = self._worlds.pop(kind)
        for client in world.clients.values():
            processes.stop(client, 20.0)
        world.close()
        shutil.rmtree(world.folder, ignore_errors=True)


def run(shots: Sequence[Shot], *, loud: bool = True) -> Iterator[Result]:
    """The results, as they come."""
    with tempfile.TemporaryDirectory(prefix="faults") as folder, Stands(Path(folder)) as stands:
        for shot in shots:
            result = _try(shot, stands, loud)
            if result.lost:
                stands.end()
            yield result


def _try(shot: Shot, stands: Stands, loud: bool) -> Result:
    fault, world = BY_NAME[shot.fault], None
    try:
        world, undisturbed = stands.world(fault)
        return _shoot(shot, world, undisturbed)
    except NotHere as reason:
        return Result(shot, "not shown here", why=str(reason))
    except Exception as error:
        if loud:
            traceback.print_exc()
            if world is not None:
                print(world.told(), file=sys.stderr)
        return Result(shot, "", why=str(error).partition("\n")[0][:300] or type(error).__name__)


def _shoot(shot: Shot, world: World, undisturbed: float) -> Result:
    fault, started = BY_NAME[shot.fault], time.monotonic()
    world.begin(f"shot{shot.number}")
    world.at(shot)
    told = len(world.log(NAMES[shot.site]))
    heal = fault.strike(world, shot)
    world.end(heal, fault.hold)
    seconds = time.monotonic() - started
    _put_right(heal, fault.hold)
    world.settle()
    distance, line = world.distance(), world.read(fault.line) if fault.line else ""
    world.check_ledgers()
    assert distance <= fault.weights, f"weights differ by {distance:g}"
    if fault.scored and not fault.secure and not fault.weights:
        differ = differing(world.rows(), world.undisturbed)
        assert not differ, f"results.json differs from that of an undisturbed study in {differ}"
    struck = TASK in world.log(NAMES[shot.site])[told:]
    assert line or not fault.line or not struck, f"nobody read {fault.line!r}"
    assert not world.seen("Traceback"), f"a traceback was told: {world.seen('Traceback')}"
    again = world.run_id != world.first_run or bool(world.endings)
    ended = "completed when resumed" if again else "completed"
    return Result(shot, ended, seconds, seconds - undisturbed, distance, line)


def differing(rows: list[dict[str, Any]], others: list[dict[str, Any]]) -> str:
    """What is not the same in two runs' rows, '' where all is."""
    if len(rows) != len(others):
        return f"the number of rows, {len(rows)} and {len(others)}"
    pairs = [(k, a.get(k), b.get(k)) for a, b in zip(rows, others) for k in {*a, *b}]
    return "; ".join(sorted(f"{k}: {a} and {b}" for k, a, b in pairs if a != b))[:300]


def _put_right(heal: Heal | None, hold: float) -> None:
    """A heal that waits for the study's end."""
    if heal is not None and not hold:
        heal()
