"""What is left of a broken chain, and what can be proved of the rest.

A line carries its own hash. Where one byte of it was changed, the right one is found by trying all
of them: no other line has that hash. Lines that copies of the ledger have are put back where the
chain names them. What neither gives is lost, and counted.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

from fl_client.memory.chain.end import End
from fl_client.memory.chain.lines import GENESIS, Entry, entry_in

MAX_TRIED_LINES = 50
MAX_LINE_BYTES = 8192
MAX_FRAME_BYTES = 2048
_PRINTABLE = bytes(range(0x20, 0x7F))
_HASH, _HEX = b'"hash": "', 64


@final
@dataclass(frozen=True)
class Salvage:
    """``chain`` is unbroken from its beginning, and ``rest`` are the whole lines that it does not
    lead to, in their order. ``restored`` lines had a changed byte, ``copied`` ones come from
    copies, ``lost`` ones are nowhere."""

    chain: list[Entry]
    rest: list[Entry]
    restored: int
    copied: int
    lost: int


def salvage(data: bytes, copies: Iterable[Entry], ends: Sequence[End | None]) -> Salvage:
    """The lines that ``data`` and ``copies`` of it give; ``ends`` say how many there were."""
    parts = [part for part in data.split(b"\n") if part]
    read = list(_readable(parts))
    found = [one for one in read if one is not None]
    here = [entry for _, entry in found] + [
        last for end in ends if end and (last := entry_in(end.line.encode()))
    ]
    after: dict[str, Entry] = {}
    for entry in [*here, *copies]:
        after.setdefault(entry.previous, entry)
    chain = list(_walk(after))
    linked = {entry.hash for entry in chain}
    rest = list({e.hash: e for e in here if e.hash not in linked}.values())
    known = {entry.hash for entry in here}
    told = [end for end in ends if end is not None]
    expected = max((end.entries for end in told), default=0) or len(read)
    lost = max(0, expected - len(chain) - len(rest))
    gone = any(end.hash not in linked | known for end in told)
    return Salvage(
        chain,
        rest,
        restored=sum(not whole for whole, _ in found),
        copied=sum(entry.hash not in known for entry in chain),
        lost=max(lost, int(bool(rest) or gone)),
    )


def _walk(after: dict[str, Entry]) -> Iterator[Entry]:
    """From the beginning on, as far as each line's hash is named by another."""
    entry = after.get(GENESIS)
    while entry is not None:
        yield entry
        entry = after.get(entry.hash)


def _readable(parts: Sequence[bytes]) -> Iterator[tuple[bool, Entry] | None]:
    """Whether each line was whole, and its entry; None for a line with more damage."""
    tried, number = 0, 0
    while number < len(parts):
        entry = entry_in(parts[number])
        if entry is not None:
            yield True, entry
        elif tried < MAX_TRIED_LINES:
            tried += 1
            rest = parts[number + 1 : number + 2]
            made, n_parts = _restored(parts[number], rest[0] if rest else None)
            yield from ((False, one) for one in made)
            if not made:
                yield None
            number += n_parts - 1
        else:
            yield None
        number += 1


def _restored(part: bytes, following: bytes | None) -> tuple[list[Entry], int]:
    """The entries of a damaged line, and how many parts of the file they take."""
    if len(part) > MAX_LINE_BYTES:
        return [], 1
    for whole in (b"{" + part, part + b"}"):  # its first or last byte became the end of a line
        if (entry := entry_in(whole)) is not None:
            return [entry], 1
    if (entry := _changed_byte(part)) is not None:
        return [entry], 1
    for place in range(len(part)):
        if part[place - 1 : place] == b"}" and part[place + 1 : place + 2] == b"{":
            both = [entry_in(part[:place]), entry_in(part[place + 1 :])]
            if all(both):
                return [entry for entry in both if entry is not None], 1
    if following is not None and entry_in(following) is None:
        joined = (entry_in(part + bytes([byte]) + following) for byte in _PRINTABLE)
        if (entry := next(filter(None, joined), None)) is not None:
            return [entry], 2
    return [], 1


def _changed_byte(line: bytes) -> Entry | None:
    """The entry of a line of which one byte was changed."""
    head, label, tail = line.partition(_HASH)
    stated, frame, rest = tail[:_HEX], tail[_HEX : _HEX + 3], tail[_HEX + 3 :]
    digest = hashlib.sha256(head + rest).hexdigest().encode()
    if sum(a != b for a, b in zip(digest, stated, strict=False)) == 1:
        return entry_in(head + label + digest + frame + rest)
    for body in _with_hash(head + rest, stated):
        cut = len(head)
        return entry_in(body[:cut] + label + stated + frame + body[cut:])
    tried = _changed(line) if len(line) <= MAX_FRAME_BYTES else iter(())
    return next(filter(None, map(entry_in, tried)), None)


def _with_hash(body: bytes, stated: bytes) -> Iterator[bytes]:
    """``body`` with the one other byte that gives it the hash ``stated``, in hexadecimal."""
    for place, old in enumerate(body):
        before, after = hashlib.sha256(body[:place]), body[place + 1 :]
        for byte in _PRINTABLE:
            if byte == old:
                continue
            tried = before.copy()
            tried.update(bytes([byte]) + after)
            if tried.hexdigest().encode() == stated:
                yield body[:place] + bytes([byte]) + after


def _changed(line: bytes) -> Iterator[bytes]:
    """``line`` with each of its bytes changed in every way."""
    for place in range(len(line)):
        for byte in _PRINTABLE:
            yield line[:place] + bytes([byte]) + line[place + 1 :]
