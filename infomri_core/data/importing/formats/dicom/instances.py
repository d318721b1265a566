"""Each image once: copies are dropped, and UIDs on different images are not believed."""

import hashlib
from collections import defaultdict
from pathlib import Path
from typing import final

from infomri_core.data.importing.formats.dicom.header import Header
from infomri_core.data.importing.formats.dicom.pixels import stored_frames
from infomri_core.data.importing.volume import Journal, Left

_COPY = "duplicate of an instance already taken"
Key = tuple[bytes, str, str]


@final
class Instances:
    """The frames of the files seen so far.

    A copy agrees in SOP instance UID, patient, series, place and pixels. Some vendors and gateways
    give one UID to many images: those all stay, and the report warns of them. Pixels are decoded
    only where two files share the first three.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._files: dict[Key, list[list[Header]]] = defaultdict(list)
        self._digests: dict[Path, bytes | None] = {}
        self._owners: dict[bytes, int] = defaultdict(int)

    def add(self, uid: str, headers: list[Header]) -> bool:
        """Take a file's frames; False if it is a copy of one that stays."""
        mark = hashlib.sha256(uid.encode(errors="surrogateescape")).digest()[:16]
        files = self._files[mark, headers[0].patient, headers[0].series]
        for earlier in files:
            worse = self._worse(earlier, headers)
            if worse is not None:
                self._journal.skip(worse[0].path, _COPY)
                if worse is headers:
                    return False
                files[files.index(earlier)] = headers
                return True
        files.append(headers)
        self._owners[mark] += 1
        return True

    def headers(self) -> list[Header]:
        """The frames that stay; warns of repeated UIDs."""
        repeated = {mark for mark, n in self._owners.items() if n > 1}
        kept = [headers for files in self._files.values() for headers in files]
        if repeated:
            paths = [
                str(headers[0].path)
                for (mark, _, _), files in self._files.items()
                for headers in files
                if mark in repeated
            ]
            self._journal.warn(
                f"SOP instance UIDs that stand on several different images: {len(repeated)}; "
                "all of the images are taken",
                *paths,
            )
        return [header for headers in kept for header in headers]

    def _worse(self, earlier: list[Header], later: list[Header]) -> list[Header] | None:
        """Which of two files is a copy to drop, None if they are different images."""
        digests = [self._digest(headers) for headers in (earlier, later)]
        if digests[0] == digests[1] is not None:
            return later
        if None not in digests:
            return None
        if digests[0] is not None:
            return later
        if digests[1] is not None:
            return earlier
        sizes = [headers[0].path.stat().st_size for headers in (earlier, later)]
        return earlier if sizes[1] > sizes[0] else later

    def _digest(self, headers: list[Header]) -> bytes | None:
        """Of a file's places and pixels; None where they cannot be decoded."""
        path = headers[0].path
        if path not in self._digests:
            places = ",".join(f"{header.place:.2f}" for header in headers)
            state = hashlib.sha256(places.encode())
            for stored in stored_frames(path, sorted({header.frame for header in headers})):
                if isinstance(stored, Left):
                    self._digests[path] = None
                    break
                state.update(stored.tobytes())
            else:
                self._digests[path] = state.digest()
        return self._digests[path]
