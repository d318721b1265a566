"""Text from outside, as it may be shown to a person: what steers a terminal or a reader's eye is
spelt out."""

import unicodedata

_STEERING = frozenset({"Cc", "Cf", "Zl", "Zp"})


def plain(text: str) -> str:
    """``text`` with control characters (but for line feeds and tabs), marks that change the
    direction of writing, and line separators spelt as escapes. Escape codes of a terminal could
    otherwise hide or rewrite what a person reads before approving a plan."""
    return "".join(_spelt(c) if _steers(c) else c for c in text)


def is_plain(text: str) -> bool:
    """Whether :func:`plain` leaves ``text`` as it is, and it has no line feed or tab either."""
    return not any(_steers(c) or c in "\n\t" for c in text)


def _steers(character: str) -> bool:
    return character not in "\n\t" and unicodedata.category(character) in _STEERING


def _spelt(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
