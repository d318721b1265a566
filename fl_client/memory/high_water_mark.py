"""The mark: how far the ledger had come when something left that must never be forgotten.

It lies beside the ledger: the number and hash of its entries at the last release of k-space or
the last debit of privacy. A ledger restored from an older backup does not reach its mark. A state
directory that was restored whole brings its older mark along: only the study centre's record of
the site's departures can then tell what is missing.
"""

import dataclasses
import logging
from pathlib import Path
from typing import final

from fl_client.memory.chain.end import end_of, read_end, write_end
from fl_client.memory.ledger import Ledger
from infomri_core.system.errors import Refused

log = logging.getLogger(__name__)


@final
class HighWaterMark:
    """The mark of ``ledger`` in the file ``path``."""

    def __init__(self, ledger: Ledger, path: Path) -> None:
        self._ledger = ledger
        self._path = path

    def move(self) -> None:
        """To the ledger's end. Raises ``Refused("ledger")`` where it cannot be written."""
        end = dataclasses.replace(end_of(self._ledger.entries()), line="")
        try:
            write_end(self._path, end)
        except OSError as error:
            log.error("the mark beside the ledger cannot be written: %s", error.strerror)
            raise Refused("ledger", "the site cannot note what leaves; nothing leaves") from None

    def check(self) -> None:
        """Raise ``Refused("ledger")`` where the ledger does not reach its mark."""
        mark = read_end(self._path)
        if mark is not None and not mark.reached(self._ledger.entries()):
            log.error("the ledger is older than %s says: was a backup restored?", self._path)
            raise Refused("ledger", "the site's ledger is not whole; nothing leaves")
