"""The state of the data that a site enrolled for a plan, which holds until the hospital says else.

A study trains and scores on the patients that were enrolled. Where files, patients, labels or
splits are others than at the enrolment, every job of the plan is refused; the hospital may enrol
the data again with ``infomri-client plan re-enrol``, which adds a line to a list beside the
ledger.
"""

import logging
from collections.abc import Iterable
from pathlib import Path

from fl_client.memory.ledger import Entry
from infomri_core.system.errors import Refused
from infomri_core.system.files import append_line
from infomri_core.system.names import same_study_name

NAME = "enrolments"

log = logging.getLogger(__name__)


def check_enrolled(entries: Iterable[Entry], ledger_entry: Entry, path: Path) -> None:
    """Raise ``Refused("data-changed")`` where the data behind ``ledger_entry`` are not those that
    were enrolled for its plan, by the ledger's ``entries`` and the list at ``path``."""
    fixed = enrolled(entries, ledger_entry.run, path, ledger_entry.study)
    if fixed in (None, ledger_entry.data):
        return
    log.error("the data are not those that were enrolled for plan %s", ledger_entry.run[:12])
    raise Refused(
        "data-changed",
        "this site's data have changed since it enrolled for this plan; "
        "the hospital can enrol them again",
    )


def enrolled(entries: Iterable[Entry], run: str, path: Path, study: str = "") -> str | None:
    """The fingerprint of the data fixed for the plan whose sha256 is ``run``: that of the newest
    line at ``path``, else of the first card that left for it, or for another plan of ``study``.
    None before the first enrolment."""
    again = [words[1] for words in _lines(path) if words[0] == run]
    if again:
        return again[-1]
    cards = [e for e in entries if (e.job, e.kind) == ("enrol", "card") and e.data]
    return next(
        (e.data for e in cards if e.run == run or (study and same_study_name(e.study, study))),
        None,
    )


def enrol_again(path: Path, run: str, data: str, words: str) -> None:
    """Fix other data for a plan; ``words``: who, when and why."""
    append_line(path, f"{run}  {data}  {' '.join(words.split())}")


def _lines(path: Path) -> list[list[str]]:
    """The lines that are whole; where the list cannot be read, nothing is enrolled again."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        log.error("the list of enrolments cannot be read: %s", error)
        raise Refused("data-changed", "this site's list of enrolments cannot be read") from None
    split = [line.split() for line in text.splitlines()]
    return [words for words in split if len(words) > 2 and len(words[1]) == 64]
