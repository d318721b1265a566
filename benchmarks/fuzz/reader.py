"""A reader that is fuzzed, and what it never may give."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.fuzz import corpus
from benchmarks.fuzz import mutations as by


@dataclass(frozen=True)
class Reader:
    """``name`` is that of the file; ``makers`` write valid ones; ``mutate``, given a scratch
    folder, damages one; ``read`` gives in a word what became of it."""

    name: str
    makers: tuple[corpus.Make, ...]
    mutate: Callable[[Path], by.Mutate]
    read: Callable[[Path], str]


class Wrong(AssertionError):
    """A reader gave something that it never may."""


def always(mutate: by.Mutate) -> Callable[[Path], by.Mutate]:
    """``mutate``, which needs no scratch folder."""
    return lambda folder: mutate
