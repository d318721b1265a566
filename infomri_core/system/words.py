"""Counts in words: one thing, two things."""


def counted(number: int, noun: str, plural: str = "") -> str:
    """``1 mask``, ``2 masks``; ``plural`` where it is not the noun with an s."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"
