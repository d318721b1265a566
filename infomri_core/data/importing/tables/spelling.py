"""Words of a table: several spellings of one word become one, and the rows are reported."""

import unicodedata
from collections import Counter
from collections.abc import Callable, Hashable

from infomri_core.data.fastmri.annotations import NO, YES
from infomri_core.data.importing.report import ranges

Words = list[str | None]
SPLITS = {"training": "train", "validation": "val", "valid": "val", "testing": "test"}


def one_spelling(words: Words) -> Words:
    """Each word in its most frequent spelling, where several differ in case, width, blanks or
    underscores alone. Of a column that holds nothing but yes, no and the like, ``y``, ``Yes`` and
    ``true`` are one word; if 0 or 1 stands among them, all become 0 and 1.
    """
    folded = {fold(word) for word in words if word is not None}
    if folded <= YES | NO:
        if folded & {"0", "1"}:
            return as_digits(words) or words
        return _most_frequent(words, lambda word: fold(word) in YES)
    return _most_frequent(words, fold)


def as_digits(words: Words) -> Words | None:
    """0 for no, 1 for yes in any spelling; None where another word stands."""
    folded = [None if word is None else fold(word) for word in words]
    if not all(word is None or word in YES | NO for word in folded):
        return None
    return [None if word is None else str(int(word in YES)) for word in folded]


def split_names(words: list[str]) -> list[str]:
    """``Train`` and ``training`` as train, ``validation`` as val; unknown words stay."""
    return [SPLITS.get(fold(word), fold(word)) for word in words]


def joined(column: str, numbers: list[int], before: Words, after: Words) -> tuple[str, ...]:
    """The warning that some cells of a column were read as another spelling, or nothing."""
    changed = tuple(n for n, old, new in zip(numbers, before, after) if old != new)
    if not changed:
        return ()
    rows = f"rows {ranges(changed)}" if len(changed) > 1 else f"row {changed[0]}"
    return (f"spellings of one word in the column '{column}' were joined: {rows} of the table",)


def fold(word: str) -> str:
    """Lower case, of one width, with single blanks."""
    return " ".join(unicodedata.normalize("NFKC", word).casefold().replace("_", " ").split())


def _most_frequent(words: Words, key: Callable[[str], Hashable]) -> Words:
    counts = Counter(word for word in words if word is not None)
    chosen: dict[Hashable, str] = {}
    for word in sorted(counts, key=lambda w: (-counts[w], w)):
        chosen.setdefault(key(word), word)
    return [None if word is None else chosen[key(word)] for word in words]
