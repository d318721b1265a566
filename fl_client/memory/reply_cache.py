"""Replies that left, kept for a while: a lost reply is sent again, not computed again."""

import logging
import os
from pathlib import Path
from typing import final

from infomri_core.system.files import write_atomically

log = logging.getLogger(__name__)


@final
class ReplyCache:
    """The last ``n_kept`` replies on disk, each by a key of hexadecimal digits."""

    def __init__(self, folder: Path, n_kept: int) -> None:
        self._folder = folder
        self._n_kept = n_kept

    def get(self, key: str) -> bytes | None:
        """The reply kept under ``key``, if it is still there."""
        path = self._path(key)
        try:
            data = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        return data

    def put(self, key: str, reply: bytes) -> None:
        """Keep a reply and forget the oldest ones. A full disk loses the copy, not the reply."""
        try:
            write_atomically(self._path(key), reply)
            kept = sorted(self._folder.glob("*.reply"), key=lambda path: path.stat().st_mtime_ns)
            for old in kept[: -self._n_kept]:
                old.unlink(missing_ok=True)
        except OSError as error:
            log.warning("a reply could not be kept for repetition: %s", error.strerror)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.reply"
