"""Holds the ledger against what the vault wrote, now and then, also while nothing is asked."""

import contextlib
import logging
import threading
from collections.abc import Iterator

from fl_client.memory.ledger import Ledger

EVERY_SECONDS = 60.0

log = logging.getLogger(__name__)


@contextlib.contextmanager
def watched(ledger: Ledger, every: float = EVERY_SECONDS) -> Iterator[None]:
    """Within the context a thread checks the ledger, and logs what was changed from outside."""
    left = threading.Event()

    def look() -> None:
        sound = True
        while sound and not left.wait(every):
            sound = ledger.sound()
        if not sound:
            log.error("nothing leaves this site until `infomri-client ledger recover`")

    thread = threading.Thread(target=look, name="ledger watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        left.set()
        thread.join()
