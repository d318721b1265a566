"""The site's part in secure aggregation: its sessions, from announced keys to shares given out.

A session lives in the memory of the vault only. After a restart it is gone, and the site stands
aside until the study centre prepares another one.

One sum a question: training repeats bit for bit, so two sums of one round over different sites
would give a site's update by subtraction; and the noise of scores is made of the question, so two
sums of one scoring would give a site's. Which job and round a slot's answer is of, the slot
remembers from what was masked in it, not from the task that asks to unmask it. Which sites were
summed, the ledger remembers, by the study's name, whatever plan of that name asks.
"""

import logging
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import final

import numpy as np

from fl_client.memory.ledger import Entry, same_study
from fl_client.settings import Secure
from infomri_core.messages import (
    AnnounceReply,
    AnnounceTask,
    EvaluateReply,
    EvaluateTask,
    MaskedReply,
    SecureReply,
    SecureTask,
    ShareReply,
    ShareTask,
    TrainReply,
    TrainTask,
    UnmaskReply,
    UnmaskTask,
    task_digest,
)
from infomri_core.messages.secure import Masking, context_of
from infomri_core.plan.plan import Plan
from infomri_core.score_noise.mechanism import form_of
from infomri_core.score_noise.ring import scores_to_ring
from infomri_core.secagg import Participant
from infomri_core.secagg.announcement import threshold_for
from infomri_core.secagg.trust import Trust, read_trust
from infomri_core.secagg.update import update_to_ring
from infomri_core.system.errors import InputError, Refused

N_SESSIONS = 4
_SUM = {"train": "sum of ", "evaluate": "scores of "}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Masked:
    """What left under the masks of a slot: the answer to ``question`` of ``job``, in ``round``, to
    be summed over some of ``sites``."""

    job: str
    question: str
    round: int
    sites: frozenset[str]


@dataclass
class _Session:
    """One participant a slot; ``n_sites`` take part once shares were made. ``masked``: what left
    in each slot that was used."""

    slots: list[Participant]
    n_sites: int = 0
    masked: dict[int, _Masked] = field(default_factory=dict)


@final
class Sessions:
    """The sessions of the site ``name``, the newest few of them.

    Every method raises ``Refused("secure-aggregation")`` rather than go on with what is wrong.
    """

    def __init__(self, name: str, secure: Secure) -> None:
        self._name = name
        self._secure = secure
        self._sessions: OrderedDict[tuple[str, str], _Session] = OrderedDict()

    def trust(self) -> Trust:
        """The key and the list of sites as they stand now: to change them needs no restart."""
        try:
            return read_trust(self._secure.key, self._secure.trusted, self._name)
        except InputError as error:
            log.error("no secure aggregation here: %s", error)
            sentence = "this site is not set up for secure aggregation; its log says why"
            raise Refused("secure-aggregation", sentence) from None

    def answer(
        self, plan: Plan, task: SecureTask, ledger_entry: Entry, entries: Iterable[Entry]
    ) -> SecureReply:
        """The answer to a task of ``plan``; ``entries`` of the ledger tell what was unmasked, and
        ``ledger_entry`` is to be the next of them."""
        match task:
            case AnnounceTask():
                return self._announce(plan, task)
            case ShareTask():
                return self._share(plan, task)
            case UnmaskTask():
                return self._unmask(plan, task, ledger_entry, entries)

    def check(
        self, plan: Plan, masking: Masking, ledger_entry: Entry, entries: Iterable[Entry]
    ) -> None:
        """Before any work is done: the slot is prepared, was not used before, and the sites of
        the round's sum, if there was one, all take part."""
        if not self._slot(plan, masking.session, masking.slot)[1].ready:
            raise Refused("secure-aggregation", "the slot is not prepared, or was used before")
        before = summed_before(ledger_entry, entries)
        if before is not None and before - set(masking.shares):
            raise _second_sum(ledger_entry, before)

    def mask(
        self, plan: Plan, task: TrainTask | EvaluateTask, reply: TrainReply | EvaluateReply
    ) -> MaskedReply:
        """What ``reply`` says of the site under the masks that ``task`` names."""
        masking = task.masking
        if masking is None:
            raise Refused("secure-aggregation", "the task names no masks")
        session, participant = self._slot(plan, masking.session, masking.slot)
        inbox = self._inbox(participant, masking)
        vector, question = _vector(plan, task, reply, session.n_sites), task_digest(task)
        masked = participant.mask(vector, inbox, masking.binding(question))
        asked = (task.to_message().kind, question, task.round)
        session.masked[masking.slot] = _Masked(*asked, frozenset(masking.shares))
        if isinstance(reply, EvaluateReply):
            return MaskedReply(masked, reply.epsilon)
        return MaskedReply(masked, reply.epsilon, reply.budget, reply.lost_state)

    def _inbox(self, participant: Participant, masking: Masking) -> dict[str, bytes]:
        """The shares that are for this site. A site that takes part has one for each neighbour:
        without it this site would not mask with it, and not know that it is no part of the sum."""
        shares, near = masking.shares, set(masking.shares) & set(participant.neighbours)
        if self._name not in shares or any(self._name not in shares[name] for name in near):
            raise Refused("secure-aggregation", "the shares of a site that takes part are missing")
        return {name: shares[name][self._name] for name in near}

    def _announce(self, plan: Plan, task: AnnounceTask) -> AnnounceReply:
        key, trust = (plan.digest, task.session), self.trust()
        if key in self._sessions:
            raise Refused("secure-aggregation", "this session was announced already")
        slots = [
            Participant(
                self._name,
                context_of(plan.digest, task.session, slot),
                trust.key,
                trust.sites,
                plan.aggregation.degree,
            )
            for slot in range(task.slots)
        ]
        self._sessions[key] = _Session(slots)
        while len(self._sessions) > N_SESSIONS:
            self._sessions.popitem(last=False)
        return AnnounceReply(tuple(participant.announcement for participant in slots))

    def _share(self, plan: Plan, task: ShareTask) -> ShareReply:
        session, _ = self._slot(plan, task.session, 0)
        names = [{a.name for a in announced} for announced in task.announcements]
        if len(names) != len(session.slots) or any(found != names[0] for found in names):
            raise Refused("secure-aggregation", "not every slot is announced by the same sites")
        rules, n_sites = plan.aggregation, len(names[0])
        threshold = threshold_for(rules.threshold, n_sites, rules.degree)
        shares = []
        for participant, announced in zip(session.slots, task.announcements, strict=True):
            shares.append(participant.share(announced, threshold, plan.training.quorum))
        session.n_sites = n_sites
        return ShareReply(tuple(shares))

    def _unmask(
        self, plan: Plan, task: UnmaskTask, ledger_entry: Entry, entries: Iterable[Entry]
    ) -> UnmaskReply:
        session, participant = self._slot(plan, task.session, task.slot)
        masked = session.masked.get(task.slot)
        if masked is None or not set(task.delivered) <= masked.sites:
            raise Refused("secure-aggregation", "a site delivered that took no part in this sum")
        if (masked.job, masked.round) != (task.job, task.round):
            log.warning("slot %d holds the answer to %s", task.slot, masked.question[:12])
            sentence = (
                f"the update in this slot is of {masked.job}, round {masked.round}; the task says "
                f"{task.job}, round {task.round}"
            )
            raise Refused("secure-aggregation", sentence)
        before = summed_before(ledger_entry, entries, task.job)
        if before not in (None, frozenset(task.delivered)):
            raise _second_sum(ledger_entry, before, task.job)
        return UnmaskReply(participant.unmask(task.delivered))

    def _slot(self, plan: Plan, session: str, slot: int) -> tuple[_Session, Participant]:
        found = self._sessions.get((plan.digest, session))
        if found is None or slot >= len(found.slots):
            raise Refused("secure-aggregation", "this site knows no such session (any more)")
        return found, found.slots[slot]


def summed(task: UnmaskTask) -> str:
    """Which sum an unmasking was for, as the ledger notes it."""
    return _SUM[task.job] + ", ".join(sorted(set(task.delivered)))


def summed_before(
    ledger_entry: Entry, entries: Iterable[Entry], job: str = ""
) -> frozenset[str] | None:
    """The sites whose sum of ``job`` (the entry's own by default) this site helped to unmask in
    the study and round of ``ledger_entry``, whichever plan of the study asked for it; None where
    there was none."""
    begins = _SUM[job or ledger_entry.job]
    for entry in entries:
        of_round = (entry.job, entry.kind, entry.round) == (
            "unmask",
            "unmasked",
            ledger_entry.round,
        )
        if of_round and entry.note.startswith(begins) and same_study(entry, ledger_entry):
            return frozenset(entry.note.removeprefix(begins).split(", "))
    return None


def _vector(
    plan: Plan,
    task: TrainTask | EvaluateTask,
    reply: TrainReply | EvaluateReply,
    n_sites: int,
) -> np.ndarray:
    """What is masked, uint64 (n,)."""
    if isinstance(task, TrainTask) and isinstance(reply, TrainReply):
        sizes = {name: len(flat) for name, flat in task.arms.items()}
        with_losses = plan.privacy is None or plan.privacy.losses
        return update_to_ring(reply, sizes, plan.task.reported_terms, n_sites, with_losses)
    if isinstance(task, EvaluateTask) and isinstance(reply, EvaluateReply):
        return scores_to_ring(reply, form_of(plan, task.arms, task.attacks), task.attacks)
    raise Refused("secure-aggregation", "a reply that is not the task's")


def _second_sum(ledger_entry: Entry, before: frozenset[str] | None, job: str = "") -> Refused:
    job = job or ledger_entry.job
    sites = ", ".join(sorted(before or ()))
    kind = "scoring" if job == "evaluate" else "round"
    which = "the scoring" if job == "evaluate" else f"round {ledger_entry.round}"
    return Refused(
        "secure-aggregation",
        f"{which} of this study was unmasked as the {_SUM[job]}{sites}; two sums of one {kind} "
        "would tell the sites apart, so only that one can be had again; a plan of another study "
        "name starts again",
    )
