"""Rows of a frontier whose figures of classification are given flat, as they lie in a file."""

from dataclasses import replace
from typing import Any

from infomri_core.results.frontier import Row
from infomri_core.tasks.figures import flat, from_flat
from infomri_core.tasks.registry import figures_of

KINDS = figures_of("classification")


def row_of(*values: Any, **named: Any) -> Row:
    """A row; ``auroc``, ``auroc_low``, ``auroc_high``, ``accuracy`` become its figures."""
    own = _taken(named)
    return replace(Row(*values, **named), figures=from_flat(KINDS, own))


def changed(row: Row, **named: Any) -> Row:
    """The row with other values, figures among them."""
    own = _taken(named)
    return replace(row, figures=from_flat(KINDS, flat(KINDS, row.figures) | own), **named)


def _taken(named: dict[str, Any]) -> dict[str, Any]:
    return {name: named.pop(name) for name in flat(KINDS, {}) if name in named}
