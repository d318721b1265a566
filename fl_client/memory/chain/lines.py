"""A line of the ledger: its fields, its bytes, and its place in the chain."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, final

from infomri_core.system.errors import InputError
from infomri_core.system.names import same_study_name

GENESIS = "0" * 64
CHARGE = "charge"
RECOVERED = "recovered"
REMEDY = "stop infomri-client; `infomri-client ledger recover --why ..` closes the broken chain"
_LATER = frozenset(
    {"data", "released", "counts", "privacy", "study", "charge", "was", "recovered"}
)
_NOT_OURS = (ValueError, TypeError, KeyError, AttributeError, RecursionError)


@final
@dataclass(frozen=True, kw_only=True)
class Entry:
    """One departure, or (``kind`` is ``CHARGE``) what a job was charged before it read the data.

    Args:
        run: The plan's sha256.
        round: Of training; 0 for what belongs to none.
        kind: Of the message that left, or ``CHARGE`` or ``RECOVERED``.
        n_bytes: Of what left.
        sha256: Of what left.
        input: sha256 of the task without its deadline.
        data: Fingerprint of the data that the task was asked of.
        repetition: The bytes had left before.
        released: Patients' ids and position bitmaps of k-space. A line has this and what follows
            only where there is any.
        counts: Those that left again.
        privacy: The mechanism that the job runs on the data, and epsilon with it.
        study: The name of the plan's study.
        charge: ``inputs`` and ``figures`` that the job costs.
        was: The hash that the line had in a broken chain.
        recovered: Closes a broken chain.
        time: Filled in by the ledger, as ``previous`` and ``hash`` are.
    """

    run: str
    job: str
    round: int
    kind: str
    n_bytes: int
    sha256: str
    input: str = ""
    data: str = ""
    repetition: bool = False
    note: str = ""
    released: Mapping[str, Any] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    privacy: Mapping[str, Any] = field(default_factory=dict)
    study: str = ""
    charge: Mapping[str, int] = field(default_factory=dict)
    was: str = ""
    recovered: Mapping[str, Any] = field(default_factory=dict)
    time: str = ""
    previous: str = ""
    hash: str = ""


def same_study(a: Entry, b: Entry) -> bool:
    """Whether two entries are of one study: by its name, whatever else its plan says, or by the
    plan's digest in lines older than the name."""
    return a.run == b.run or (same_study_name(a.study, b.study) and a.study != "")


def dated(entries: Iterable[Entry]) -> Iterator[tuple[Entry, datetime]]:
    """Each entry with a time from which it cannot be older: the latest in its line or before it.
    A chain has its order from its hashes, and its times from a clock that anyone may set.

    Args:
        entries: In the chain's order.
    """
    latest = datetime.min.replace(tzinfo=UTC)
    for entry in entries:
        if entry.time:
            latest = max(latest, datetime.fromisoformat(entry.time))
        yield entry, latest


def sealed(entry: Entry, previous: str) -> Entry:
    """``entry`` in its place; of now, unless it was carried over from a broken chain.

    Args:
        previous: The hash of the one before.
    """
    time = entry.time if entry.was else datetime.now(UTC).isoformat(timespec="milliseconds")
    made = dataclasses.replace(entry, time=time, previous=previous)
    content = content_of(made)
    del content["hash"]
    return dataclasses.replace(made, hash=digest_of(content))


def line_of(entry: Entry) -> bytes:
    """Its bytes in the file, line feed included."""
    return canonical(content_of(entry)) + b"\n"


def content_of(entry: Entry) -> dict[str, Any]:
    """An entry as it stands in its line: what younger versions added is left out when empty, so
    that older ledgers read as they were written."""
    content = dataclasses.asdict(entry)
    return {key: value for key, value in content.items() if value or key not in _LATER}


def canonical(content: Mapping[str, Any]) -> bytes:
    """The one form in which a line is written and hashed."""
    return json.dumps(content, sort_keys=True).encode()


def digest_of(content: Mapping[str, Any]) -> str:
    """The hash of a line's content without its ``hash``."""
    return hashlib.sha256(canonical(content)).hexdigest()


def entry_in(line: bytes) -> Entry | None:
    """The entry in a line that is, to the byte, what was written, wherever it stands; or None."""
    try:
        content = json.loads(line)
        if canonical(content) != line:
            return None
        digest = content.pop("hash")
        return Entry(**content, hash=digest) if digest_of(content) == digest else None
    except _NOT_OURS:
        return None


def scan(data: bytes, where: str) -> tuple[list[Entry], bytes]:
    """The entries of a ledger, and what follows the last line feed.

    Args:
        data: The file's bytes.
        where: What an error names as the place.

    Raises:
        InputError: The chain is broken.
    """
    *lines, fragment = data.split(b"\n")
    entries: list[Entry] = []
    for number, line in enumerate(lines, start=1):
        entry = entry_in(line)
        if entry is None or entry.previous != (entries[-1].hash if entries else GENESIS):
            got = "a line that was changed, lost or inserted"
            raise InputError(f"{where} line {number}", "an unbroken chain", got, REMEDY)
        entries.append(entry)
    return entries, fragment
