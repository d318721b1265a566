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
    """A parsed URI. ``options`` holds the values by name, percent-encoded as they stand."""

    text: str
    scheme: str
    path: str
    options: dict[str, str]


@dataclass(frozen=True)
class Selection:
    """Options that every format knows: which part of the data is opened.

    ``role`` is 'site', 'audit' or '' (both), ``hospital`` one or more names (empty: all),
    ``hospitals`` deals patients without a hospital into H1..HN, ``split`` is 'train', 'val',
    'test' or '' (all), ``audit_fraction`` the share of training patients set aside for the audit.
    ``limit_gib`` is how much memory one read of a file may need, 0 the default of
    `infomri_core.data.hdf5.limits`. ``raters`` simulates so many outlines of each slice from the
    stored one (:mod:`infomri_core.data.outlines.simulated`); 0 leaves it alone.
    """

    role: str = ""
    hospital: tuple[str, ...] = ()
    hospitals: int = 1
    split: str = ""
    audit_fraction: float = 0.1
    limit_gib: float = 0.0
    raters: int = 0

    def check(self, where: str) -> None:
        """Refuse values outside their range."""
        one_of(self.role, ("site", "audit"), where, "role")
        one_of(self.split, ("train", "val", "test"), where, "split")
        at_least(self.hospitals, 1, where, "hospitals")
        at_least(self.limit_gib, 0, where, "limit_gib")
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
    """Take a URI apart; ``InputError`` when there is no scheme or an option is malformed."""
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
    """Make the options dataclass ``cls`` from the URI; unknown names raise with the nearest."""
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
    """Refuse ``value`` below ``minimum``."""
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
    """Refuse a ``value`` that is neither empty nor among ``choices``."""
    if value and value not in choices:
        hint = nearest(value, choices) or "choose one of them"
        raise InputError(f"{where} {name}", " or ".join(choices), f"'{value}'", hint)
