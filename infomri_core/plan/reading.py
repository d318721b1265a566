"""A plan's text becomes a ``Plan``, or one line says why not."""

from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import tomli_w

from infomri_core.plan.changes import changed
from infomri_core.plan.plan import Arm, Plan
from infomri_core.plan.rules import check
from infomri_core.sampling.registry import options_from, sampler_class
from infomri_core.sampling.stored_mask import is_packed, packed, read_mask
from infomri_core.system.config import build, not_utf8, parse_toml
from infomri_core.system.errors import InputError, nearest
from infomri_core.tasks.registry import task_from


def parse_plan(text: str, where: str = "plan.toml") -> Plan:
    """Parse and validate a plan.

    Args:
        text: TOML.
        where: What an error names as the place.

    Raises:
        InputError: It is no plan, or one that cannot be run.
    """
    table = parse_toml(text, where)
    if "task" in table:
        table["task"] = task_from(table["task"], f"{where} task")
    if isinstance(table.get("arms"), list):
        arms = [_arm(arm, f"{where} arms[{i}]") for i, arm in enumerate(table["arms"])]
        table["arms"] = arms
    plan = replace(build(Plan, table, where), text=text)
    check(plan, where)
    return plan


def _arm(table: Any, where: str) -> Any:
    """The arm of a table: the keys that are not every arm's are its sampler's."""
    whole = isinstance(table, dict)
    if not whole or not isinstance(table.get("sampler"), str):
        return {k: v for k, v in table.items() if k != "options"} if whole else table
    name, every = table["sampler"], [f.name for f in fields(Arm) if f.name != "options"]
    known = [f.name for f in fields(sampler_class(name, f"{where} sampler"))]
    own = {key: value for key, value in table.items() if key in known}
    # Up to version 0.1 every arm could have an exponent, which only variable density read.
    rest = {k: value for k, value in table.items() if k not in (*known, "exponent")}
    unknown = [key for key in rest if key not in every]
    if unknown:
        keys = [*every, *known]
        hint = nearest(unknown[0], keys) or f"the keys are {', '.join(keys)}"
        raise InputError(where, "only known keys", f"'{unknown[0]}'", hint)
    return build(Arm, rest | {"options": options_from(name, own, where)}, where)


def _with_masks(text: str, path: Path) -> str:
    """The plan's text with the points of stored masks in place of their files' names, so that its
    sha256 stands for them; as it is where it names no file."""
    table = parse_toml(text, path.name)
    arms = table.get("arms")
    named = [
        arm
        for arm in (arms if isinstance(arms, list) else [])
        if isinstance(arm, dict) and arm.get("sampler") == "stored"
        if isinstance(arm.get("mask"), str) and not is_packed(arm["mask"])
    ]
    for arm in named:
        arm["mask"] = packed(read_mask(path.parent / arm["mask"]))
    return tomli_w.dumps(table) if named else text


def without_noise(plan: Plan) -> Plan:
    """The same plan with exact scores, for who scores data of his own; its text, and so its
    identity, stays."""
    return replace(plan, evaluation=replace(plan.evaluation, noise=False))


def read_plan(path: Path, changes: Iterable[str] = ()) -> Plan:
    """Read a plan file.

    Args:
        path: Of the TOML file; names of stored masks in it are relative to it.
        changes: Each ``SECTION.KEY=VALUE``, as after ``--set``.

    Raises:
        InputError: No such file, no plan, or one that cannot be run.
    """
    try:
        text = path.read_text(encoding="utf-8")
        text = changed(text, changes, path.name)
        return parse_plan(_with_masks(text, path), path.name)
    except (FileNotFoundError, IsADirectoryError):
        raise InputError(str(path), "a plan file", "no such file", "check the path") from None
    except UnicodeDecodeError:
        raise not_utf8(path) from None
