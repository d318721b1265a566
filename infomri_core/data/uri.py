"""Data URIs: ``scheme:path?option=value&option=value``, read strictly into typed options."""

import dataclasses
import types
import typing
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import unquote

from infomri_core.system.errors import InputError, nearest

T = TypeVar("T")
_TRUTH = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


@dataclass(frozen=True)
class DataUri:
    """A parsed URI.

    Args:
        text: As it was written.
        scheme: The data format.
        path: What stands before the question mark.
        options: Values by name, percent-encoded as they stand.
    """

    text: str
    scheme: str
    path: str
    options: dict[str, str]


@dataclass(frozen=True)
class Selection:
    """Options that every format knows: which part of the data is opened.

    Args:
        role: 'site', 'audit' or '' (both).
        hospital: One or more names; empty: all.
        hospitals: Deals patients without a hospital into H1..HN.
        split: 'train', 'val', 'test' or '' (all).
        audit_fraction: Share of training patients set aside for the audit, in (0, 1).
        limit_gib: How much memory one read of a file may need, GiB; 0 is the default.
        raters: Simulates so many outlines of each slice from the stored one, 2 to 16; 0 leaves it
            alone.
        shrink: Makes one pixel of so many by so many, images and outlines alike.
    """

    role: str = ""
    hospital: tuple[str, ...] = ()
    hospitals: int = 1
    split: str = ""
    audit_fraction: float = 0.1
    limit_gib: float = 0.0
    raters: int = 0
    shrink: int = 1

    def check(self, where: str) -> None:
        """Refuse values outside their range.

        Args:
            where: What the error names as the place.

        Raises:
            InputError: The first such value.
        """
        one_of(self.role, ("site", "audit"), where, "role")
        one_of(self.split, ("train", "val", "test"), where, "split")
        at_least(self.hospitals, 1, where, "hospitals")
        at_least(self.limit_gib, 0, where, "limit_gib")
        at_least(self.shrink, 1, where, "shrink")
        if not (self.raters == 0 or 2 <= self.raters <= 16):
            raise InputError(f"{where} raters", "0, or 2 .. 16", f"{self.raters}", "correct it")
        if not 0.0 < self.audit_fraction < 1.0:
            raise InputError(
                f"{where} audit_fraction",
                "a number in (0, 1)",
                f"{self.audit_fraction}",
                "fix it",
            )


def parse_uri(text: str) -> DataUri:
    """Take a URI apart.

    Args:
        text: ``scheme:path?option=value&option=value``.

    Raises:
        InputError: There is no scheme, or an option is malformed.
    """
    scheme, colon, rest = text.partition(":")
    if not colon:
        raise InputError(
            text or "data URI", "scheme:path?options", "no scheme", "write e.g. slices:knees.h5"
        )
    path, _, query = rest.partition("?")
    options: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        key, equals, value = part.partition("=")
        if not equals or not key:
            raise InputError(text, "options written name=value", f"'{part}'", "add the '='")
        if key in options:
            raise InputError(text, "each option once", f"'{key}' twice", "drop one of them")
        options[key] = value
    return DataUri(text, scheme, path, options)


def read_options(cls: type[T], uri: DataUri) -> T:
    """The options of a URI as typed values.

    Args:
        cls: A dataclass whose fields are the options.
        uri: Whose values are converted to the fields' types.

    Raises:
        InputError: An unknown name, with the nearest that there is, or a value of another type.
    """
    hints = typing.get_type_hints(cls)
    known = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    for key in uri.options:
        if key not in known:
            hint = nearest(key, known) or f"the options are {', '.join(sorted(known))}"
            raise InputError(uri.text, f"only options of '{uri.scheme}:'", f"'{key}'", hint)
    return cls(
        **{key: _convert(hints[key], value, uri, key) for key, value in uri.options.items()}
    )


def at_least(value: float, minimum: float, where: str, name: str) -> None:
    """Refuse ``value`` below ``minimum``.

    Args:
        where: What the error names as the place.
        name: Of the option.

    Raises:
        InputError: It is below.
    """
    if not value >= minimum:
        raise InputError(f"{where} {name}", f"at least {minimum}", f"{value}", "raise it")


def _convert(hint: Any, value: str, uri: DataUri, key: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        return _convert(args[0], value, uri, key)
    if origin is tuple:
        # Only commas that are written as such separate: %2C belongs to a name.
        parts = [part.strip() for part in value.split(",")]
        return tuple(_convert(args[0], part, uri, key) for part in parts if part)
    value = unquote(value, errors="surrogateescape")
    try:
        return _TRUTH[value.lower()] if hint is bool else hint(value)
    except (ValueError, KeyError):
        kind = "yes or no" if hint is bool else f"a value of type {hint.__name__}"
        raise InputError(f"{uri.text} {key}", kind, f"'{value}'", "correct it") from None


def one_of(value: str, choices: tuple[str, ...], where: str, name: str) -> None:
    """Refuse a ``value`` that is neither empty nor among ``choices``.

    Args:
        where: What the error names as the place.
        name: Of the option.

    Raises:
        InputError: It is neither.
    """
    if value and value not in choices:
        hint = nearest(value, choices) or "choose one of them"
        raise InputError(f"{where} {name}", " or ".join(choices), f"'{value}'", hint)
