"""A plan's text becomes a :class:`~infomri_core.plan.plan.Plan`, or one line says why not."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from infomri_core.plan.changes import changed
from infomri_core.plan.plan import Plan
from infomri_core.plan.rules import check
from infomri_core.system.config import build, not_utf8, parse_toml
from infomri_core.system.errors import InputError
from infomri_core.tasks.registry import task_from


def parse_plan(text: str, where: str = "plan.toml") -> Plan:
    """Parse and validate a plan. Raises ``InputError`` (expected, got, remedy)."""
    table = parse_toml(text, where)
    if "task" in table:
        table["task"] = task_from(table["task"], f"{where} task")
    plan = replace(build(Plan, table, where), text=text)
    check(plan, where)
    return plan


def without_noise(plan: Plan) -> Plan:
    """The same plan with exact scores, for who scores data of his own; its text, and so its
    identity, stays."""
    return replace(plan, evaluation=replace(plan.evaluation, noise=False))


def read_plan(path: Path, changes: Iterable[str] = ()) -> Plan:
    """Read a plan file, with the ``changes`` of :func:`infomri_core.plan.changes.changed`."""
    try:
        text = path.read_text(encoding="utf-8")
        return parse_plan(changed(text, changes, path.name), path.name)
    except (FileNotFoundError, IsADirectoryError):
        raise InputError(str(path), "a plan file", "no such file", "check the path") from None
    except UnicodeDecodeError:
        raise not_utf8(path) from None
