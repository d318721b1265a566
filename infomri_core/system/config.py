"""TOML tables into frozen dataclasses: strict, typed, and helpful about typing errors."""

import dataclasses
import functools
import logging
import math
import tomllib
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from infomri_core.system.errors import InputError, nearest

T = TypeVar("T")

log = logging.getLogger(__name__)


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file; ``InputError`` when it is missing or is not TOML."""
    try:
        return parse_toml(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        raise InputError(str(path), "a TOML file", "no such file", "check the path") from None
    except UnicodeDecodeError:
        raise not_utf8(path) from None
    except OSError as error:
        got = error.strerror or type(error).__name__
        raise InputError(str(path), "a readable TOML text file", got, "check the path") from None


def not_utf8(path: Path) -> InputError:
    """The refusal of a text file in another encoding, by name where its first bytes tell."""
    with path.open("rb") as stream:
        mark = stream.read(2)
    got = "UTF-16" if mark in (b"\xff\xfe", b"\xfe\xff") else "other bytes"
    return InputError(str(path), "text in UTF-8", got, "save it again with the encoding UTF-8")


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """Parse TOML text; ``where`` names it in the error. A byte-order mark is passed over."""
    try:
        return tomllib.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        got = str(error).splitlines()[0][:200]
        raise InputError(where, "valid TOML", got, "fix the syntax") from None


def build(cls: type[T], table: dict[str, Any], where: str) -> T:
    """Make the dataclass ``cls`` from a table.

    Nested dataclasses are built from sub-tables, unless they are built already, ``tuple[X, ...]``
    from arrays, ``dict[str, X]`` from tables, ``Path`` from strings. A field whose metadata says
    ``toml: False`` is no key; one with ``was`` is read under that name of the version before,
    too. Unknown keys, missing keys and wrong types raise ``InputError``.
    """
    if not isinstance(table, dict):
        raise InputError(where, "a table", _kind(table), "write it as [section]")
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls) if _is_key(field)}  # type: ignore[arg-type]
    table = _under_new_names(table, fields, where)
    for key in table:
        if key not in fields:
            hint = nearest(key, fields) or f"the keys are {', '.join(fields)}"
            raise InputError(where, "only known keys", f"'{key}'", hint)
    for name, field in fields.items():
        required = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        if required and name not in table:
            raise InputError(where, f"the key '{name}'", "none", "add it")
    values = {key: _convert(hints[key], value, f"{where} {key}") for key, value in table.items()}
    return cls(**values)


def _under_new_names(
    table: dict[str, Any], fields: dict[str, dataclasses.Field[Any]], where: str
) -> dict[str, Any]:
    """The table with keys of the version before under today's names. ``InputError`` where it has
    a key under both."""
    today = {f.metadata["was"]: name for name, f in fields.items() if "was" in f.metadata}
    for old in today.keys() & table.keys():
        if today[old] in table:
            remedy = f"remove '{old}', the old name of '{today[old]}'"
            raise InputError(where, f"'{today[old]}' only", f"'{old}' as well", remedy)
        _report_renamed(where, old, today[old])
    return {today.get(key, key): value for key, value in table.items()}


@functools.cache
def _report_renamed(where: str, old: str, new: str) -> None:
    """Once a process: a vault reads a plan with every message."""
    line = "%s: '%s' is called '%s' now; the next version no longer reads the old name"
    log.warning(line, where, old, new)


def _is_key(field: dataclasses.Field[Any]) -> bool:
    return field.init and bool(field.metadata.get("toml", True))


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return _convert(next(a for a in args if a is not type(None)), value, where)
    if dataclasses.is_dataclass(hint):
        if isinstance(value, typing.cast(type, hint)):
            return value
        return build(typing.cast(type, hint), value, where)
    if origin is tuple:
        return _convert_tuple(args, value, where)
    if origin is dict:
        if not isinstance(value, dict):
            raise InputError(where, "a table", _kind(value), "write it as [section.NAME]")
        return {key: _convert(args[1], item, f"{where}.{key}") for key, item in value.items()}
    if hint is Path and isinstance(value, str):
        return Path(value).expanduser()
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        got = f"one of {len(str(abs(value)))} digits"
        raise InputError(where, "a number that 64 bits hold", got, "correct it")
    if hint is float and value == "-inf":
        return -math.inf
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is not bool and isinstance(value, bool)):
        raise InputError(where, f"a value of type {hint.__name__}", _kind(value), "correct it")
    return value


def _convert_tuple(args: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise InputError(where, "an array", _kind(value), "write it as [..]")
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(_convert(args[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if len(value) != len(args):
        raise InputError(where, f"{len(args)} values", f"{len(value)}", "correct the array")
    return tuple(
        _convert(a, item, f"{where}[{i}]") for i, (a, item) in enumerate(zip(args, value))
    )


def _kind(value: Any) -> str:
    return f"{value!r} ({type(value).__name__})"
