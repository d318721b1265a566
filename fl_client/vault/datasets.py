"""Several data sets at one site: each message goes to the one that the plan's approval names.

Each has its own ledger, budget, memory of releases and optimizer state, so no patient may be in
two of them: that is checked when they are opened. A study, whichever of its plans asks, stays
with the data set that answered it first, since two answers to one question over different patients
would tell of their difference.
"""

import dataclasses
import hashlib
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, final

import numpy as np

from fl_client.memory.ledger import Entry, Ledger, same_study
from fl_client.policy.decisions import exposed
from fl_client.settings import Policy
from fl_client.sockets.status import PING, PONG, Tally, VaultStatus
from infomri_core.data.base import SliceTable
from infomri_core.messages import ErrorReply, wire
from infomri_core.plan.reading import parse_plan
from infomri_core.system.errors import InputError, Refused

log = logging.getLogger(__name__)

_UNREAD = Entry(run="", job="unknown", round=0, kind="", n_bytes=0, sha256="")


class Handler(Protocol):
    """What a vault serves: bytes in, bytes out, never an exception."""

    def handle(self, data: bytes) -> bytes: ...

    def status(self) -> VaultStatus: ...


@final
@dataclass(frozen=True)
class DataSet:
    """One data set that was opened: its jobs, its ledger, and the table of its slices."""

    jobs: Handler
    ledger: Ledger
    table: SliceTable


@final
class DataSets:
    """Passes messages on to ``sets``, by name; '' is the site's first."""

    def __init__(self, policy: Policy, sets: Mapping[str, DataSet]) -> None:
        check_disjoint({name: each.table for name, each in sets.items()})
        self._policy = policy
        self._sets = sets

    def handle(self, data: bytes) -> bytes:
        """The answer of the data set that the message's plan may see. Never raises."""
        try:
            head = wire.peek(data)
            text = head.header.get("plan")
            if not isinstance(text, str):
                return self._first(head.kind, data)
        except Refused:
            return self._sets[""].jobs.handle(data)
        asked = dataclasses.replace(_UNREAD, run=_digest(text), study=_study(text))
        try:
            name = self._named(asked)
        except Refused as refused:
            return self._refuse(refused, asked)
        return self._sets[name].jobs.handle(data)

    def status(self) -> VaultStatus:
        """Of all data sets together; epsilon is the largest, as no patient is in two of them."""
        found = [each.jobs.status() for each in self._sets.values()]
        tallies = [each.tally for each in found]
        epsilons = [tally.epsilon for tally in tallies]
        finite = [epsilon for epsilon in epsilons if epsilon is not None]
        whole = Tally(
            replies=_added([tally.replies for tally in tallies]),
            refusals=_added([tally.refusals for tally in tallies]),
            n_bytes=sum(tally.n_bytes for tally in tallies),
            epsilon=max(finite) if len(finite) == len(epsilons) else None,
            last=max(tally.last for tally in tallies),
        )
        busy, sound = any(each.busy for each in found), all(each.sound for each in found)
        return VaultStatus(found[0].site, busy, whole, sound)

    def _first(self, kind: str, data: bytes) -> bytes:
        """What asks for no plan: whether the vault lives."""
        if kind == PING.kind:
            return wire.encode(PONG)
        return self._sets[""].jobs.handle(data)

    def _refuse(self, refused: Refused, asked: Entry) -> bytes:
        """An error of no data set; the first's ledger has its line before it leaves."""
        data = wire.encode(ErrorReply(refused.code, refused.sentence).to_message())
        digest = hashlib.sha256(data).hexdigest()
        entry = dataclasses.replace(
            asked, kind="error", n_bytes=len(data), sha256=digest, note=refused.code
        )
        try:
            self._sets[""].ledger.append(entry)
        except Refused as unwritten:
            return wire.encode(ErrorReply(unwritten.code, unwritten.sentence).to_message())
        return data

    def _named(self, asked: Entry) -> str:
        try:
            name = exposed(self._policy, asked.run)
        except InputError as error:
            log.error("the approvals cannot be read: %s", error)
            raise Refused("not-approved", "this site's approvals cannot be read") from None
        if name not in self._sets:
            log.error("a plan is approved for the data set %r, which is not here", name)
            raise Refused("not-approved", "the approved data set is not at this site")
        for other, each in self._sets.items():
            if other != name and answered(each.ledger, asked):
                sentence = "this study has run on another data set of this site"
                raise Refused("not-approved", sentence)
        return name


def answered(ledger: Ledger, asked: Entry) -> bool:
    """Whether anything but a refusal left, or was charged, for the study of ``asked``."""
    return any(same_study(e, asked) and e.kind != "error" for e in ledger.entries())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


def _study(text: str) -> str:
    """The study's name in a plan, '' where the plan is none."""
    try:
        return parse_plan(text, "plan").study.name
    except (InputError, RecursionError):
        return ""


def check_disjoint(tables: Mapping[str, SliceTable]) -> None:
    """Raise ``InputError`` where a patient's id is in two data sets; it is not named."""
    seen: set[str] = set()
    for name, table in tables.items():
        patients = {str(patient) for patient in np.unique(table.patients)}
        n_twice = len(patients & seen)
        if n_twice:
            remedy = "give each patient to one data set: each has a privacy budget of its own"
            got = f"{n_twice} that are in another data set too"
            raise InputError(f"[datasets.{name}]", "patients of its own", got, remedy)
        seen |= patients


def _added(counts: list[Mapping[str, int]]) -> dict[str, int]:
    return dict(sum((Counter(each) for each in counts), Counter[str]()))
