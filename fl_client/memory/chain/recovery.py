"""Closing a broken chain with a signed line and going on after it (``ledger recover``).

What can be read or proved stays, with its charges; no counter begins again. The signed line says
what was found, why it happened, who closed the chain, and what each lost line is counted as. The
broken file is kept beside the ledger.
"""

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_ssh_public_key,
)

from fl_client.memory.chain.end import UNREADABLE, End, end_file, end_of, read_end, write_end
from fl_client.memory.chain.held import held
from fl_client.memory.chain.lines import (
    GENESIS,
    RECOVERED,
    Entry,
    canonical,
    line_of,
    scan,
    sealed,
)
from fl_client.memory.chain.salvage import Salvage, salvage
from infomri_core.system.errors import InputError
from infomri_core.system.files import write_atomically

CONTEXT = b"infomri-ledger-recovered-v1\n"
MARK = "released.json"
Counted = Callable[[Sequence[Entry], int], Sequence[Entry]]
"""The charges that stand for so many lost lines, next to the readable ones."""


@final
@dataclass(frozen=True)
class Recovery:
    """What was done.

    Args:
        line: The signed one.
        kept: The broken file.
        found: What could be read or proved of it.
    """

    line: Entry
    kept: Path
    found: Salvage


def recover(
    path: Path,
    key: ec.EllipticCurvePrivateKey,
    *,
    why: str,
    by: str,
    studies: Iterable[str] = (),
    copies: Iterable[Entry] = (),
    counted: Counted = lambda entries, lost: (),
) -> Recovery:
    """Close the broken ledger at ``path``.

    Args:
        key: Signs the closing line.
        why: What happened, for later readers.
        by: Who closed it.
        studies: Names that the site knows beside those in the ledger; where a line is lost, they
            answer nothing more.
        copies: Lines of older copies of the ledger.
        counted: What lost lines are charged as.

    Raises:
        InputError: The chain is unbroken and whole, or a vault has the ledger.
    """
    descriptor = held(path)
    try:
        data, marks = path.read_bytes(), [read_end(end_file(path)), read_end(path.parent / MARK)]
        _check_broken(path, data, marks)
        found = salvage(data, copies, marks)
        kept = path.with_name(f"{path.name}.broken-{datetime.now(UTC):%Y%m%dT%H%M%S}")
        write_atomically(kept, data)
        readable = [*found.chain, *found.rest]
        known = {entry.study for entry in readable} | set(studies)
        said = {
            "file": kept.name,
            "sha256": hashlib.sha256(data).hexdigest(),
            "ends": [end.hash for end in marks if end not in (None, UNREADABLE)],
            "kept": len(readable),
            "restored": found.restored,
            "copied": found.copied,
            "lost": found.lost,
            "closed": sorted(known - {""}) if found.lost else [],
            "why": " ".join(why.split()),
            "by": by,
        }
        closing = _entry(signed(said, found.chain[-1].hash if found.chain else GENESIS, key))
        charges = counted(readable, found.lost) if found.lost else ()
        lines = _written(path, found, closing, charges)
        for end, file in zip(marks, (end_file(path), path.parent / MARK), strict=True):
            if end is not None:
                write_end(file, end_of(lines))
        return Recovery(lines[len(found.chain)], kept, found)
    finally:
        os.close(descriptor)


def signed(
    said: Mapping[str, Any], previous: str, key: ec.EllipticCurvePrivateKey
) -> dict[str, Any]:
    """``said`` with the public key, the hash that it comes ``after``, and a signature of all."""
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    whole = {**said, "after": previous, "key": public}
    signature = key.sign(CONTEXT + canonical(whole), ec.ECDSA(hashes.SHA384()))
    return {**whole, "signature": signature.hex()}


def check_signature(entry: Entry) -> None:
    """Check a closing line.

    Raises:
        InputError: Its key did not sign it for its place.
    """
    said = dict(entry.recovered)
    try:
        signature = bytes.fromhex(said.pop("signature"))
        key = load_ssh_public_key(said["key"].encode())
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert entry.was or said["after"] == entry.previous, "unless carried over since"
        key.verify(signature, CONTEXT + canonical(said), ec.ECDSA(hashes.SHA384()))
    except (KeyError, ValueError, AssertionError, InvalidSignature, UnsupportedAlgorithm):
        remedy = "keep the file, and compare it with an exported copy"
        where = f"ledger line of {entry.time}"
        raise InputError(where, "a signed recovery", "a wrong signature", remedy) from None


def _check_broken(path: Path, data: bytes, marks: Sequence[End | None]) -> None:
    try:
        entries, fragment = scan(data, str(path))
    except InputError:
        return
    if fragment or any(end is not None and not end.reached(entries) for end in marks):
        return
    got = f"{len(entries)} lines, unbroken and whole"
    raise InputError(str(path), "a broken chain", got, "start infomri-client")


def _written(path: Path, found: Salvage, closing: Entry, charges: Iterable[Entry]) -> list[Entry]:
    """The lines of the ledger that continues, as they are on the disk now."""
    lines = list(found.chain)
    carried = (dataclasses.replace(entry, was=entry.was or entry.hash) for entry in found.rest)
    for entry in (closing, *carried, *charges):
        lines.append(sealed(entry, lines[-1].hash if lines else GENESIS))
    write_atomically(path, b"".join(map(line_of, lines)))
    return lines


def _entry(said: Mapping[str, Any]) -> Entry:
    words = f"closed by {said['by']}: {said['why']}"
    return Entry(
        run="",
        job="",
        round=0,
        kind=RECOVERED,
        n_bytes=0,
        sha256=said["sha256"],
        note=words,
        recovered=said,
    )
