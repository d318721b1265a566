"""A frontier row as the flat metrics of a tracking store, and back: ``psnr/unet/32x``."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from infomri_core.results.frontier import Row, answers_named, to_json
from infomri_core.tasks.figures import flat, from_flat
from infomri_core.tasks.registry import DEFAULT, answer_of, figures_of

_SINGLE = (
    "psnr_groups",
    "psnr_prior",
    "redundancy",
    "n_patients",
    "linkage_same_rank1",
    "linkage_same_auc",
    "linkage_other_rank1",
    "linkage_other_auc",
    "linkage_gallery",
)
_WHOLE = ("psnr_groups", "n_patients")
_DERIVED = ("psnr_worst", "psnr_gain")
_PER_ATTACK = (
    *("psnr", "psnr_low", "psnr_high", "psnr_of_mean_mse", "ssim", "nmse"),
    *("legibility", "legibility_low", "legibility_high"),
)
_PER_FIGURE = ("linkage_low", "linkage_high", "gain_low", "gain_high")
ALIVE = "infomri.alive"
"""The tag in which a study's process says when it was last alive, in Unix seconds."""
_EPSILON = "epsilon"
_COUNTS = ("n_train", "n_audit")
_CERTIFIED = "certified"


def metrics_of(row: Row) -> dict[str, float]:
    """The row's defined figures by metric name; what is undefined has no metric."""
    values = to_json(row)
    at = f"{row.acceleration:g}x"
    answer = answer_of(row.task)
    names = (*_of_task(row.task), *_SINGLE, *_DERIVED, f"psnr_{answer}", f"psnr_gain_{answer}")
    found = {f"{name}/{at}": values[name] for name in names}
    for name in _PER_ATTACK + _PER_FIGURE:
        found |= {f"{name}/{attack}/{at}": value for attack, value in values[name].items()}
    found |= {f"{_CERTIFIED}/{a}/{at}": float(a in row.certified) for a in row.psnr}
    found |= {name: values[name] for name in (*_COUNTS, _EPSILON)}
    return {name: float(value) for name, value in found.items() if value is not None}


def rows_of(arm: Row, metrics: Mapping[str, float]) -> list[Row]:
    """One row an acceleration found in ``metrics``, in ascending order.

    ``arm`` gives what metrics don't say (name, task, sampler, beta, ...). Names that are no
    figure of a row are ignored.
    """
    cells: dict[str, dict[str, float]] = {}
    answers = [f"psnr_{answer_of(kind)}" for kind in (arm.task, DEFAULT)]
    for name, value in metrics.items():
        path, _, at = name.rpartition("/")
        if path.split("/")[0] in (
            *_of_task(arm.task),
            *_SINGLE,
            *answers,
            *_PER_ATTACK,
            *_PER_FIGURE,
            _CERTIFIED,
        ) and _acceleration(at):
            cells.setdefault(at, {})[path] = value
    counts: dict[str, Any] = {name: int(metrics[name]) for name in _COUNTS if name in metrics}
    known = replace(arm, epsilon=metrics.get(_EPSILON), **counts)
    rows = (_row(known, _acceleration(at), cell) for at, cell in cells.items())
    return sorted(rows, key=lambda row: row.acceleration)


def _row(arm: Row, acceleration: float, cell: Mapping[str, float]) -> Row:
    values: dict[str, Any] = {name: value for name, value in cell.items() if "/" not in name}
    values |= {name: dict(_within(cell, name)) for name in _PER_ATTACK + _PER_FIGURE}
    known = answers_named(values, arm.task)
    names = (*_SINGLE, "psnr_answer", *_PER_ATTACK, *_PER_FIGURE)
    figures = {name: known[name] for name in names if name in known}
    figures |= {name: int(figures[name]) for name in _WHOLE if name in figures}
    figures["figures"] = from_flat(figures_of(arm.task), cell)
    figures["certified"] = tuple(a for a, passed in _within(cell, _CERTIFIED) if passed)
    return replace(arm, acceleration=acceleration, **figures)


def _of_task(kind: str) -> tuple[str, ...]:
    """The names under which the figures of a kind of task lie flat."""
    return tuple(flat(figures_of(kind), {}))


def _within(cell: Mapping[str, float], name: str) -> Iterable[tuple[str, float]]:
    start = f"{name}/"
    return ((path[len(start) :], v) for path, v in cell.items() if path.startswith(start))


def _acceleration(text: str) -> float:
    """The acceleration in '32x'; 0 when it is none."""
    try:
        return float(text[:-1]) if text.endswith("x") else 0.0
    except ValueError:
        return 0.0
