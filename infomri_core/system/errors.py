"""Errors that a person can act on."""

import difflib
from collections.abc import Iterable

from infomri_core.system.plain import plain


class InputError(ValueError):
    """Input refused at the border: says where, what was expected, what came, and what to do.

    Subclasses ``ValueError`` so that library users can catch it as they expect. Its text steers no
    terminal, whatever came.

    Args:
        where: A file, an option, a field.
        expected: What would do.
        got: What came.
        remedy: What to do about it.
    """

    def __init__(self, where: str, expected: str, got: str, remedy: str) -> None:
        super().__init__(plain(f"{where}: expected {expected}, got {got}; {remedy}"))
        self.where = where
        self.expected = expected
        self.got = got
        self.remedy = remedy


class Refused(Exception):
    """A job a site will not do.

    Args:
        code: With the sentence, all that may cross the border.
        sentence: Safe to show anyone.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(f"{code}: {sentence}")
        self.code = code
        self.sentence = sentence


class Cancelled(Refused):
    """The deadline passed, or the site is stopping; work ended between two steps."""

    def __init__(self, sentence: str = "the deadline passed before the job was done") -> None:
        super().__init__("deadline", sentence)


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint that names the key nearest to ``name``; '' when none is near.

    Args:
        known: The keys that there are.
    """
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"did you mean '{match[0]}'?" if match else ""
