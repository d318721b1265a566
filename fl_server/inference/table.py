"""From scans to a table of a trained arm's answers."""

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence

from fl_server.inference.trained_arm import TrainedArm
from infomri_core.inference.inference import diagnose_images, diagnose_kspace, sampling_ratio
from infomri_core.inference.scans import Scan
from infomri_core.randomness.seeds import torch_generator
from infomri_core.tasks.task import Task


def columns(task: Task) -> list[str]:
    """The table's columns: where a row comes from, each answer's mean (``p_`` where it is a
    probability) and ``sd_``, the dose."""
    parts = (task.answer_prefix, "sd")
    scores = [f"{part}_{name}" for name in task.answer_names for part in parts]
    return ["input", "slice", *scores, "arm", "acceleration", "draws", "points"]


def diagnose_scan(
    trained: TrainedArm, scan: Scan, acceleration: float, seed: int, n_draws: int
) -> Iterator[list[str]]:
    """One row a slice. The random numbers follow from ``seed``, arm and acceleration alone, so a
    scan's rows do not depend on what else is diagnosed beside it.
    """
    ratio = sampling_ratio(trained.plan, acceleration)
    generator = torch_generator(seed, "diagnose", trained.arm.name, acceleration)
    device = next(trained.model.network.parameters()).device
    diagnose = diagnose_kspace if scan.is_kspace else diagnose_images
    number = 0
    for batch in scan.batches():
        found = diagnose(trained.model, batch.to(device), ratio, generator, n_draws)
        for mean, spread, n_points in zip(found.mean, found.spread, found.n_points):
            scores = [_text(value) for pair in zip(mean, spread) for value in pair]
            dose = [trained.arm.name, f"{acceleration:g}", str(n_draws), str(n_points)]
            yield [scan.name, str(number), *scores, *dose]
            number += 1


def to_csv(task: Task, rows: Iterable[Sequence[str]]) -> str:
    """The table as CSV text, header first."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns(task))
    writer.writerows(rows)
    return text.getvalue()


def _text(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"
