"""What a name may be that also names files, runs and senders of messages."""

SITE_NAME = "up to 64 letters, digits, - _ . that begin with a letter or digit"
"""What an error says was expected of a name."""


def is_site_name(text: str) -> bool:
    """Whether ``text`` can name a site, and so a file too: up to 64 letters, digits, - _ ."""
    plain = all(c.isascii() and (c.isalnum() or c in "-_.") for c in text)
    return 0 < len(text) <= 64 and text[0].isalnum() and plain
