"""What a check says."""

import enum
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from infomri_core.system.errors import InputError


class Level(enum.StrEnum):
    """How bad it is: nothing, worth knowing, or something that will fail."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """One line of the report; ``remedy`` says what to do about it, '' when all is well."""

    check: str
    level: Level
    found: str
    remedy: str = ""


def ok(check: str, found: str) -> Finding:
    """All is well."""
    return Finding(check, Level.OK, found)


def warning(check: str, found: str, remedy: str) -> Finding:
    """It works, but should be known."""
    return Finding(check, Level.WARNING, found, remedy)


def problem(check: str, found: str, remedy: str) -> Finding:
    """It will fail."""
    return Finding(check, Level.PROBLEM, found, remedy)


Check = tuple[str, Callable[[], Iterable[Finding]]]


def run_checks(checks: Iterable[Check]) -> Iterator[Finding]:
    """The findings of all checks, in order; one that raises becomes a problem of its own."""
    for name, check in checks:
        try:
            yield from list(check())
        except InputError as error:
            found = f"{error.where}: expected {error.expected}, got {error.got}"
            yield problem(name, found, error.remedy)
        except Exception as error:
            yield problem(name, f"the check failed: {type(error).__name__}", "report this")
