"""What two arms differ by, or one arm that measures less: with the interval of the difference.

Arms are scored on the same patients, so their figures err together. Where sites sent groups, a
group is left out of both at once (delete-a-group jackknife of the difference). Under noise nothing
is known of how the patients' parts go together, and the interval is the conservative one: its
half-width is the sum of both figures', which no correlation exceeds.
"""

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

from fl_server.study.evaluation.results import Cell, MergedScores, cells_of
from infomri_core.messages import Scores
from infomri_core.plan.alone import alone_arms
from infomri_core.plan.plan import Plan
from infomri_core.results.arm_names import central_name
from infomri_core.results.frontier import Row
from infomri_core.summaries.jackknife import Estimate, conservative_difference
from infomri_core.tasks.task import Task

PAIRED = "paired, by groups of patients"
CONSERVATIVE = "conservative: the widths of both"


def differences(plan: Plan, merged: MergedScores, rows: list[Row]) -> list[dict[str, Any]]:
    """For each two arms at one acceleration, and each two accelerations of one arm, that were
    scored: the second's utility and strongest attack (PSNR in dB) less the first's, as JSON."""
    by_cell = {(row.arm, row.acceleration): row for row in rows}
    scores = merged.scores
    return [
        {
            "first": list(a),
            "second": list(b),
            "how": PAIRED if a in scores and b in scores else CONSERVATIVE,
            **{
                name: {"value": e.value, "low": e.low, "high": e.high}
                for name, e in _figures(plan.task, by_cell[a], by_cell[b], scores).items()
            },
        }
        for a, b in _pairs(plan)
        if a in by_cell and b in by_cell
    ]


def _pairs(plan: Plan) -> Iterator[tuple[Cell, Cell]]:
    central = [
        (central_name(arm.name), a)
        for arm in alone_arms(plan)
        for a in plan.measurement.accelerations
    ]
    for a, b in combinations([*cells_of(plan), *central], 2):
        if (a[0] == b[0]) != (a[1] == b[1]):
            yield a, b


def _figures(task: Task, a: Row, b: Row, scores: Mapping[Cell, Scores]) -> dict[str, Estimate]:
    utility = task.figures[0].name
    one, two = scores.get((a.arm, a.acceleration)), scores.get((b.arm, b.acceleration))
    if one is None or two is None:
        return {
            utility: conservative_difference(a.utility, b.utility),
            "psnr": conservative_difference(_psnr(a), _psnr(b)),
        }
    psnr = Estimate(None)
    if a.worst_attack in one.quality and b.worst_attack in two.quality:
        first, second = one.quality[a.worst_attack or ""], two.quality[b.worst_attack or ""]
        psnr = first.difference(second, "psnr")
    return {utility: task.difference(one.task, two.task), "psnr": psnr}


def _psnr(row: Row) -> Estimate:
    name = row.worst_attack or ""
    return Estimate(row.psnr_worst, row.psnr_low.get(name), row.psnr_high.get(name))
