"""``--set training.rounds=8``: a plan's text with single keys changed, as a text of its own."""

import tomllib
from collections.abc import Iterable
from typing import Any

import tomli_w

from infomri_core.system.config import parse_toml
from infomri_core.system.errors import InputError

_REMEDY = "write SECTION.KEY=VALUE, such as --set training.rounds=8 or --set arms.0.beta=1e-4"


def changed(text: str, changes: Iterable[str], where: str) -> str:
    """The plan's ``text`` with each ``SECTION.KEY=VALUE`` of ``changes`` carried out, in order.

    Arms go by their number from 0. A value is read as TOML; what is no TOML is a string. The
    result is another text with another sha256, without comments: it is what sites approve.
    Without changes the text is returned as it is. Raises ``InputError``.
    """
    listed = list(changes)
    if not listed:
        return text
    table = parse_toml(text, where)
    for change in listed:
        name, equals, value = change.partition("=")
        keys = [key.strip() for key in name.split(".")]
        if not equals or not all(keys) or len(keys) < 2:
            raise InputError("--set", "SECTION.KEY=VALUE", repr(change), _REMEDY)
        _put(table, keys, _value(value.strip()), change)
    return tomli_w.dumps(table)


def _put(table: dict[str, Any], keys: list[str], value: object, change: str) -> None:
    *path, last = keys
    here: Any = table
    for key in path:
        if isinstance(here, list):
            here = here[_number(key, here, change)]
        elif isinstance(here, dict):
            here = here.setdefault(key, {})
    if isinstance(here, list):
        here[_number(last, here, change)] = value
    elif isinstance(here, dict):
        here[last] = value
    else:
        got = f"{'.'.join(path)}, which is one value"
        raise InputError(f"--set {change}", "a section and a key in it", got, _REMEDY)


def _number(key: str, items: list[Any], change: str) -> int:
    if key.isascii() and key.isdigit() and int(key) < len(items):
        return int(key)
    expected = f"a number from 0 to {len(items) - 1}"
    raise InputError(f"--set {change}", expected, repr(key), _REMEDY)


def _value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
