"""Two studies side by side: their frontiers, arm by arm, and what differs in their plans."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fl_server.run.folder import folder_with
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import read_plan
from infomri_core.results.frontier import Row, read_results, utility_of
from infomri_core.summaries.jackknife import Estimate, conservative_difference
from infomri_core.system.errors import InputError

RESULTS = "results.json"
_PARTS = ("first", "second", "change", "change low", "change high")
PRIVACY: Mapping[str, Callable[[Row], float | None]] = {
    "psnr_worst": lambda row: row.psnr_worst,
    "psnr_gain": lambda row: row.psnr_gain,
}


@dataclass(frozen=True)
class Finished:
    """What a completed study left: name, rows, meta, and its plan if it lies beside them."""

    name: str
    rows: tuple[Row, ...]
    plan: Plan | None
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Pair:
    """The same arm at the same acceleration in both studies; None where one lacks it."""

    arm: str
    acceleration: float
    first: Row | None
    second: Row | None

    def figures(self, name: str) -> tuple[float | None, float | None]:
        """One of ``PRIVACY``, or of the task's figures, in both."""
        known = PRIVACY.get(name, lambda row: row.figure(name).value)
        a, b = (None if row is None else known(row) for row in (self.first, self.second))
        return a, b

    def change(self, name: str) -> float | None:
        """Second minus first; None where either is undefined."""
        a, b = self.figures(name)
        return None if a is None or b is None else b - a

    def interval(self, name: str) -> tuple[float, float] | None:
        """The 95 % interval of :meth:`change`; None where a figure has none. Two studies tell
        nothing of how their patients' figures go together: it is the conservative one."""
        if self.first is None or self.second is None:
            return None
        ends = (
            _psnr_of(row) if name == "psnr_worst" else row.figure(name)
            for row in (self.first, self.second)
        )
        found = conservative_difference(*ends)
        return None if found.low is None or found.high is None else (found.low, found.high)

    @property
    def apart(self) -> bool:
        """Whether the interval of the change of utility leaves out zero: the 95 % intervals of
        both have then no value in common."""
        known = [row for row in (self.first, self.second) if row is not None]
        ends = self.interval(utility_of(known).name)
        return ends is not None and not ends[0] <= 0 <= ends[1]


def _psnr_of(row: Row) -> Estimate:
    name = row.worst_attack or ""
    return Estimate(row.psnr_worst, row.psnr_low.get(name), row.psnr_high.get(name))


def read_finished(place: Path) -> Finished:
    """The study in ``place``: a run's folder, or its results.json. ``InputError`` otherwise."""
    folder = folder_with(place, RESULTS)
    results = folder / RESULTS if folder.is_dir() else folder
    if not results.exists():
        remedy = "give the folder of a completed run, or of a demo"
        raise InputError(str(place), f"a folder with {RESULTS}", "none", remedy)
    rows, meta = read_results(results)
    plan = results.parent / "plan.toml"
    return Finished(str(place), tuple(rows), read_plan(plan) if plan.exists() else None, meta)


def pairs(first: Sequence[Row], second: Sequence[Row]) -> list[Pair]:
    """Every arm and acceleration of either study, the first one's order first."""
    by_cell = [{(row.arm, row.acceleration): row for row in rows} for rows in (first, second)]
    cells = dict.fromkeys([*by_cell[0], *by_cell[1]])
    return [Pair(*cell, by_cell[0].get(cell), by_cell[1].get(cell)) for cell in cells]


def plan_differences(first: Plan, second: Plan) -> dict[str, tuple[Any, Any]]:
    """Settings that differ, as ``training.rounds``, with both values; arms by name."""
    a, b = _flat(first), _flat(second)
    keys = dict.fromkeys([*a, *b])
    return {key: (a.get(key), b.get(key)) for key in keys if a.get(key) != b.get(key)}


def _changed(pair: Pair, name: str) -> dict[str, Any]:
    first, second = pair.figures(name)
    found = {"change": pair.change(name), "interval": pair.interval(name)}
    return {"first": first, "second": second, **found}


def to_json(first: Finished, second: Finished) -> dict[str, Any]:
    """The comparison as JSON values: ``runs``, ``arms`` and ``plan``."""
    utility = utility_of(first.rows).name
    arms = [
        {"arm": pair.arm, "acceleration": pair.acceleration}
        | {f"{utility}_intervals_apart": pair.apart}
        | {name: _changed(pair, name) for name in (utility, *PRIVACY)}
        for pair in pairs(first.rows, second.rows)
    ]
    plan = None
    if first.plan is not None and second.plan is not None:
        found = plan_differences(first.plan, second.plan)
        plan = {key: {"first": a, "second": b} for key, (a, b) in found.items()}
    return {"runs": [first.name, second.name], "arms": arms, "plan": plan}


def to_csv(first: Finished, second: Finished) -> str:
    """The comparison as CSV text: a line for each arm and acceleration, a column for each number,
    empty where it is undefined."""
    figures = (utility_of(first.rows or second.rows).name, *PRIVACY)
    columns = [f"{name} {part}" for name in figures for part in _PARTS]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("arm", "acceleration", *columns))
    for pair in pairs(first.rows, second.rows):
        cells: list[Any] = []
        for name in figures:
            cells += [*pair.figures(name), pair.change(name), *(pair.interval(name) or ("", ""))]
        writer.writerow((pair.arm, f"{pair.acceleration:g}", *cells))
    return stream.getvalue()


def _flat(plan: Plan) -> dict[str, Any]:
    settings = {
        name: value for name, value in asdict(plan).items() if name not in ("arms", "text")
    }
    settings["task"]["kind"] = plan.task.kind
    names = {f"arm {arm.name}": "present" for arm in plan.arms}
    return dict(_leaves("", settings)) | names


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(f"{path}.{key}" if path else key, inner)
    elif value is not None:
        yield path, list(value) if isinstance(value, tuple) else value
