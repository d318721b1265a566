"""How far a chain had come, in a file beside it: without it, no chain shows that its end is gone.

Two files are of this form: the ledger's own, moved with every line before what the line speaks of
may leave, and the mark of what must never be forgotten (:mod:`fl_client.memory.high_water_mark`).
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import final

from fl_client.memory.chain.lines import GENESIS, Entry, entry_in, line_of
from infomri_core.system.files import write_atomically


@final
@dataclass(frozen=True)
class End:
    """The number of lines that there were, and the hash of the last; its bytes where the file is
    the ledger's own."""

    entries: int
    hash: str
    line: str = ""

    def reached(self, chain: Sequence[Entry]) -> bool:
        """Whether ``chain`` comes so far, by the same way, or was closed and recovered there."""
        if 0 < self.entries <= len(chain) and chain[self.entries - 1].hash == self.hash:
            return True
        return any(self.hash in entry.recovered.get("ends", ()) for entry in chain)

    def missing_after(self, chain: Sequence[Entry]) -> Entry | None:
        """The line that a ledger of ``chain`` lost, where it lost the last one only."""
        last = entry_in(self.line.encode())
        follows = last is not None and last.previous == (chain[-1].hash if chain else GENESIS)
        whole = follows and last is not None and last.hash == self.hash
        return last if whole and self.entries == len(chain) + 1 else None


UNREADABLE = End(0, "unreadable")


def end_file(ledger: Path) -> Path:
    """Where the ledger keeps how far it has come."""
    return ledger.with_suffix(".end")


def end_of(chain: Sequence[Entry]) -> End:
    """The end of a chain that is not empty."""
    return End(len(chain), chain[-1].hash, line_of(chain[-1])[:-1].decode())


def read_end(path: Path) -> End | None:
    """What stands at ``path``: None without a file, :data:`UNREADABLE` where it is damaged."""
    try:
        said = json.loads(path.read_bytes())
        return End(int(said["entries"]), str(said["hash"]), str(said.get("line", "")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return UNREADABLE


def write_end(path: Path, end: End) -> None:
    """Note an end. Raises ``OSError``."""
    said = {name: value for name, value in asdict(end).items() if value != ""}
    write_atomically(path, json.dumps(said).encode())
