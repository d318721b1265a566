"""Sessions of secure aggregation: the keys and shares that sites have given, and what is used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from infomri_core.secagg import Announcement


@final
@dataclass
class Session:
    """Keys and encrypted shares for a number of sums. ``members``: the nodes that can take part,
    with their sites' names; ``asked``: all that gave an answer to the preparation."""

    key: str
    announcements: tuple[tuple[Announcement, ...], ...]
    shares: tuple[Mapping[str, Mapping[str, bytes]], ...]
    members: Mapping[str, str]
    asked: frozenset[str]
    threshold: int
    used: int = 0
    lost: bool = False

    def take_slot(self) -> int:
        """A slot that was never used."""
        self.used += 1
        return self.used - 1

    def serves(self, nodes: Sequence[str], fewest: int) -> bool:
        """Whether a round over ``nodes`` can be had with this session."""
        present = [node for node in nodes if node in self.members]
        enough = len(present) >= max(fewest, self.threshold)
        return (
            enough and not self.lost and self.used < len(self.shares) and self.asked >= set(nodes)
        )


@final
@dataclass
class Sessions:
    """The session of a running study, prepared when it is needed."""

    current: Session | None = None
