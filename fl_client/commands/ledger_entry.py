"""One line of the ledger in full: what was in that reply, field by field, by size and meaning."""

import hashlib
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from safetensors.numpy import load

from fl_client.memory.chain.lines import CHARGE, RECOVERED, Entry
from infomri_core.messages import wire
from infomri_core.system.words import counted

_MEANINGS = {
    ("card", "n_patients"): "patients, rounded down",
    ("card", "n_slices"): "slices, rounded down",
    ("card", "n_positive"): "patients with each finding, rounded down",
    ("card", "versions"): "versions of the programs here",
    ("trained", "arm"): "the network's weights after the local steps; they have seen the images",
    ("trained", "n_samples"): "slices that were trained on, rounded down",
    ("trained", "losses"): "mean loss terms of the training",
    ("trained", "dropped"): "arms that diverged, without weights",
    ("evaluated", "sums"): "sums of bounded scores over patients, under noise",
    ("evaluated", "cells"): "what was scored: arm, acceleration, name",
    ("evaluated", "failed"): "attacks that broke down here",
    ("evaluated", "n_patients"): "patients that were scored, rounded down",
    ("evaluated", "noise"): "multiplier of the noise in the sums, over their sensitivity",
    ("evaluated", "task"): "kind of the study's task",
    ("masked", "vector"): "the reply's numbers under masks: random without the other sites'",
    ("moments", "total"): "sum of squared k-space over patients, under noise",
    ("released", "positions"): "which points of k-space were released",
    ("adapted", "network"): "an attack's weights, trained further on images here",
    ("error", "code"): "why the job was refused",
    ("error", "sentence"): "the same as a sentence",
}
_ANYWHERE = {
    "epsilon": "what the study has spent here; follows from the plan",
    "budget": "what all studies have spent here, where [policy] report_budget lets it leave",
    "lost_state": "arms whose optimizer state was lost",
    "precision": "in how many bits the update was sent",
    "site": "this site's name",
    "shape": "size of a slice",
    "labels": "names of the findings",
    "task": "sha256 of the question",
}
_HEADER = "a small value"


def contents(entry: Entry, replies: Path) -> list[str]:
    """What left with ``entry``, in lines. The fields are read from the kept reply in ``replies``
    whose sha256 is the entry's; the last replies are kept only, and without one the line's own
    record is all there is."""
    lines = [f"{entry.time}  {entry.job} round {entry.round}: {entry.kind}", *_facts(entry)]
    if entry.kind in (CHARGE, RECOVERED):
        return [*lines, "nothing left with this line"]
    reply = _kept(entry, replies)
    if reply is None:
        return [*lines, "the reply itself is kept no longer: [policy] cached_replies"]
    return [*lines, "", *_fields(reply)]


def _facts(entry: Entry) -> Iterator[str]:
    yield f"  study   {entry.study or '-'}, plan {entry.run or '-'}"
    yield f"  bytes   {entry.n_bytes}" + (f", sha256 {entry.sha256}" if entry.sha256 else "")
    for name in ("charge", "counts", "privacy", "recovered"):
        if value := getattr(entry, name):
            yield f"  {name:<7} {', '.join(f'{k} {v}' for k, v in value.items())}"
    if patients := entry.released.get("patients"):
        yield f"  k-space of {counted(len(patients), 'consenting patient')}"
    if entry.note:
        yield f"  note    {entry.note}"
    if entry.repetition:
        yield "  the same bytes had left before: nothing new is in them"


def _kept(entry: Entry, replies: Path) -> bytes | None:
    for path in sorted(replies.glob("*.reply")):
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() == entry.sha256:
            return data
    return None


def _fields(reply: bytes) -> Iterator[str]:
    """Each field: name, how much it is, what it means. Values of arrays are not shown."""
    message = wire.peek(reply)
    for name, value in sorted(message.header.items()):
        yield _line(name, _size(value), _meaning(message.kind, name, _HEADER))
    arrays = sorted(load(reply).items())
    for group, members in groupby(arrays, lambda item: item[0].split("/")[0]):
        found = list(members)
        meaning = _meaning(message.kind, group, "numbers of this part of the reply")
        for name, array in found:
            size = f"{array.size} {array.dtype} {tuple(array.shape)}, {array.nbytes} bytes"
            yield _line(name, size, meaning)


def _meaning(kind: str, name: str, otherwise: str) -> str:
    return _MEANINGS.get((kind, name), _ANYWHERE.get(name, otherwise))


def _size(value: Any) -> str:
    if isinstance(value, dict | list):
        return counted(len(value), "entry", "entries")
    return "none" if value is None else str(value)[:60]


def _line(name: str, size: str, meaning: str) -> str:
    return f"  {name}\n      {size}\n      {meaning}"
