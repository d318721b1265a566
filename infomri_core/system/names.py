"""What a name may be that also names files, runs and senders of messages."""

import unicodedata

SITE_NAME = "up to 64 letters, digits, - _ . that begin with a letter or digit"
"""What an error says was expected of a name."""

_JAPANESE = ("HIRAGANA", "KATAKANA")
STUDY_NAME = "up to 64 letters of one script, digits, - _ ."


def is_site_name(text: str) -> bool:
    """Whether ``text`` can name a site, and so a file too: up to 64 letters, digits, - _ ."""
    plain = all(c.isascii() and (c.isalnum() or c in "-_.") for c in text)
    return 0 < len(text) <= 64 and text[0].isalnum() and plain


def is_study_name(text: str) -> bool:
    """Whether ``text`` can name a study. Letters of two scripts, or of unusual width, could look
    like another study's name to who approves it."""
    known = all(c.isalnum() or c in "-_." for c in text)
    words = {unicodedata.name(c, "?").split()[0] for c in text if c.isalpha()}
    scripts = {"CJK" if word.startswith(_JAPANESE) else word for word in words}
    normal = unicodedata.normalize("NFKC", text) == text
    return 0 < len(text) <= 64 and text[0].isalnum() and known and normal and len(scripts) <= 1


def same_study_name(first: str, second: str) -> bool:
    """Whether two names are of one study: in any case, so that no counter starts again for a
    name that a reader takes for the same."""
    return first.casefold() == second.casefold()
