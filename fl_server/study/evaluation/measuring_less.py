"""What suppression is worth against measuring less, with paired intervals where sites sent groups.

A group of patients is left out of all the figures that a gain depends on at once: utility and PSNR
of the suppressed row, and of both rows of beta = 0 beside it (delete-a-group jackknife).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from fl_server.study.evaluation.results import Cell, MergedScores
from infomri_core.messages import Scores
from infomri_core.results.frontier import Row
from infomri_core.results.measuring_less import (
    PAIRED,
    Comparison,
    Point,
    comparisons,
    gain,
    point_of,
    to_json,
)
from infomri_core.summaries.jackknife import estimate
from infomri_core.summaries.metrics import ImageQuality
from infomri_core.summaries.summary import Summary
from infomri_core.tasks.task import Task


def measuring_less(task: Task, merged: MergedScores, rows: list[Row]) -> list[dict[str, Any]]:
    """Every comparison of the rows, as JSON."""
    scores = merged.scores
    return [to_json(_paired(task, found, scores)) for found in comparisons(rows)]


def _paired(task: Task, found: Comparison, scores: Mapping[Cell, Scores]) -> Comparison:
    """The comparison with its paired interval; as it is where a cell has no groups."""
    rows = (found.row, *found.between)
    cells = [
        (known.task, known.quality[row.worst_attack or ""])
        for row in rows
        if (known := scores.get((row.arm, row.acceleration))) is not None
        and row.worst_attack in known.quality
    ]
    weight = cells[0][1].weight if cells else np.zeros(0)
    if len(cells) < len(rows) or any(len(q.weight) != len(weight) for _, q in cells):
        return found
    left_out = np.full(len(weight), np.nan)
    for group in np.flatnonzero(weight):
        points = [p for cell in cells if (p := _without(task, *cell, int(group))) is not None]
        if len(points) == len(rows):
            left_out[group] = gain(*points)
    value = gain(*map(point_of, rows))
    return replace(found, gain=estimate(value, left_out, weight), how=PAIRED)


def _without(task: Task, summary: Summary, quality: ImageQuality, group: int) -> Point | None:
    """A row's place without one group; None where nothing is left of a figure."""
    if quality.weight.sum() <= quality.weight[group]:
        return None
    arrays = {name: np.delete(a, group, 0) for name, a in summary.to_arrays().items()}
    rest = type(summary).from_arrays(arrays)
    utility = task.estimates(rest)[task.figures[0].name].value
    kept = ImageQuality(np.delete(quality.sums, group, 0), np.delete(quality.weight, group))
    return None if utility is None else Point(utility, kept.mean("psnr"))
