"""What a benchmark is: rows to run, and the table they make."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

from infomri_core.system.errors import InputError

Budget = Literal["small", "full"]
Figures = Mapping[str, float]


@final
@dataclass(frozen=True)
class Request:
    """Which run of a benchmark: its data URI, the ``budget``, the number of seeds, the device."""

    data: str
    budget: Budget = "small"
    n_seeds: int = 3
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.budget not in ("small", "full"):
            got = f"'{self.budget}'"
            raise InputError("benchmark: budget", "small or full", got, "choose one")
        if self.n_seeds < 1:
            raise InputError("benchmark: seeds", "at least 1", f"{self.n_seeds}", "raise it")

    @property
    def seeds(self) -> range:
        """The seeds of rows that rest on chance."""
        return range(self.n_seeds)


@final
@dataclass(frozen=True)
class Row:
    """One cell of a table: a ``key`` unique in the benchmark, how it was made in words
    (``schedule``), and ``run``, which returns figures by name."""

    key: str
    schedule: str
    run: Callable[[], Figures]


class Benchmark(ABC):
    """One published table, or a figure."""

    name: ClassVar[str]
    reproduces: ClassVar[str]
    """Which table of which paper, and how far ours can be compared."""
    data: ClassVar[str]
    """What ``--data`` must be."""
    cost: ClassVar[Mapping[Budget, str]]

    @abstractmethod
    def rows(self, request: Request) -> Sequence[Row]:
        """All rows of a request, in the order they run. Raises ``InputError`` for other data."""

    @abstractmethod
    def table(self, found: Mapping[str, Figures]) -> str:
        """Markdown of the rows that are there, "published" beside "here"."""
