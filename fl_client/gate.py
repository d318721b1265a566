"""The gate: everything that leaves this site passes here, as typed values, checked and recorded.

A reply is compared with the task that asked for it, the plan and the site's policy, made coarse
where the policy says so, written to the ledger, and only then becomes bytes. Limits: the histogram
and the image quality are exact sums over the scored patients where the plan switches their noise
off, and the weights carry whatever training put into them, which epsilon bounds where the plan has
``[privacy]``.
"""

import dataclasses
import hashlib
import logging
from typing import final

from fl_client import budget
from fl_client.checks.adapted import checked_attack
from fl_client.checks.cards import checked_card
from fl_client.checks.masked import checked_masked, checked_secure
from fl_client.checks.moments import checked_moments
from fl_client.checks.noised import digest_of, noised_scores
from fl_client.checks.scores import checked_scores
from fl_client.checks.weights import checked_weights
from fl_client.context import Context, unfit
from fl_client.frozen import counts_of, frozen_counts
from fl_client.ledger import Entry, Ledger
from fl_client.policy import check_cohort
from fl_client.release_gate import admitted_release
from fl_client.release_memory import ReleaseMemory
from fl_client.settings import Policy
from infomri_core import wire
from infomri_core.errors import Refused
from infomri_core.exchange import (
    AdaptReply,
    AdaptTask,
    AnnounceReply,
    DatasetCard,
    EnrolTask,
    ErrorReply,
    EvaluateReply,
    EvaluateTask,
    MomentsReply,
    MomentsTask,
    ReleaseReply,
    ReleaseTask,
    ShareReply,
    SiteReply,
    TrainReply,
    TrainTask,
    UnmaskReply,
)

MAX_SENTENCE = 400

log = logging.getLogger(__name__)


@final
class Gate:
    """The only maker of bytes for the channel."""

    def __init__(self, policy: Policy, ledger: Ledger, memory: ReleaseMemory) -> None:
        self._policy = policy
        self._ledger = ledger
        self._memory = memory

    def leave(self, reply: SiteReply, context: Context) -> bytes:
        """The bytes of ``reply``, once it may leave and the ledger says that it does.

        Raises ``Refused``: "cohort" when too few patients stand behind it, "gate" when it is not
        what the task asked for, "ledger" when the departure cannot be recorded.
        """
        check_cohort(context.n_patients, self._policy)
        match reply, context.task:
            case DatasetCard(), EnrolTask():
                return self._carded(reply, context)
            case MomentsReply(), MomentsTask():
                return self._private(checked_moments(reply, context, self._policy), context)
            case TrainReply(), TrainTask():
                checked = checked_weights(reply, context, context.task, self._policy)
                return self._private(checked, context)
            case AdaptReply(), AdaptTask():
                attack = checked_attack(reply, context.task, self._policy)
                return self._record(attack, context.departure)
            case EvaluateReply(), EvaluateTask():
                return self._scored(reply, context, context.task)
            case (AnnounceReply() | ShareReply() | UnmaskReply()) as keys, _:
                return self._record(checked_secure(keys, context), context.departure)
            case ReleaseReply(), ReleaseTask():
                return self._released(reply, context, context.task)
            case _:
                raise unfit("a reply that is not the task's")

    def repeat(self, reply: bytes, context: Context) -> bytes | None:
        """``reply`` again, if the ledger knows that these very bytes left for this very task."""
        departure = context.departure
        digest = hashlib.sha256(reply).hexdigest()
        known = _identity(dataclasses.replace(departure, sha256=digest))
        first = next((e for e in self._ledger.entries() if _identity(e) == known), None)
        if first is None:
            log.warning("a kept reply is not the one that left: it is made anew")
            return None
        self._ledger.append(dataclasses.replace(first, repetition=True))
        return reply

    def refuse(self, error: ErrorReply, departure: Entry) -> bytes:
        """The bytes of an error. It leaves even where the ledger cannot be written, because it
        then says just that; the site's log has it in any case."""
        safe = ErrorReply(error.code[:40], error.sentence[:MAX_SENTENCE])
        try:
            return self._record(safe, dataclasses.replace(departure, note=safe.code))
        except Refused as refusal:
            return wire.encode(ErrorReply(refusal.code, refusal.sentence).to_message())

    def _carded(self, reply: DatasetCard, context: Context) -> bytes:
        """The card with the counts that left before, or these, noted as the first."""
        card, departure = checked_card(reply, context, self._policy), context.departure
        fresh = counts_of(card)
        kept = frozen_counts(self._ledger.entries(), set(fresh), self._policy.count_days)
        counts = kept or fresh
        same = dataclasses.replace(
            card,
            n_patients=counts["patients"],
            n_slices=counts["slices"],
            n_positive=tuple(counts[f"with {name}"] for name in card.labels),
        )
        return self._record(same, dataclasses.replace(departure, counts={} if kept else fresh))

    def _private(self, reply: TrainReply | MomentsReply, context: Context) -> bytes:
        """Weights or moments, with what they do to the privacy budget."""
        plan, cost, entries = context.plan, context.cost, self._ledger.entries()
        privacy = {} if cost is None else budget.debit(cost, entries, self._policy)
        told = dataclasses.replace(
            reply,
            epsilon=budget.told_epsilon(plan, cost, entries),
            budget=budget.told_budget(privacy, self._policy),
        )
        leaving = self._masked(told, context)
        if not privacy:
            return self._record(leaving, context.departure)
        data = self._record(leaving, dataclasses.replace(context.departure, privacy=privacy))
        self._memory.mark.move()
        return data

    def _scored(self, reply: EvaluateReply, context: Context, task: EvaluateTask) -> bytes:
        """Scores, under their noise where the plan has it, with what that does to the budget."""
        entries, cost = self._ledger.entries(), context.cost
        checked = noised_scores if context.plan.evaluation.noise else checked_scores
        scores = checked(reply, context, task, self._policy)
        told = budget.told_epsilon(context.plan, None, entries)
        departure = context.departure
        if context.noise is not None and context.plan.evaluation.noise:
            name = context.noise("name", digest_of(reply)).bytes(8).hex()
            departure = dataclasses.replace(departure, note=f"noise {name}")
        spent = cost is None or any(
            (e.job, e.run, e.input, e.data, e.note)
            == (departure.job, departure.run, departure.input, departure.data, departure.note)
            for e in entries
            if e.privacy
        )
        privacy = {} if spent or cost is None else budget.debit(cost, entries, self._policy)
        departure = dataclasses.replace(departure, privacy=privacy)
        data = self._record(dataclasses.replace(scores, epsilon=told), departure)
        if privacy:
            self._memory.mark.move()
        return data

    def _masked(self, reply: TrainReply | MomentsReply, context: Context) -> SiteReply:
        """An update under its masks where the plan has secure aggregation, or not at all."""
        if not isinstance(reply, TrainReply) or not context.plan.aggregation.secure:
            return reply
        if context.mask is None or not isinstance(context.task, TrainTask):
            raise unfit("an update without masks")
        return checked_masked(context.mask(reply), context.task)

    def _released(self, reply: ReleaseReply, context: Context, task: ReleaseTask) -> bytes:
        if context.consent is None:
            raise unfit("a release without consent")
        checked, record = admitted_release(
            reply, task, context.plan, context.consent, context.departure, self._memory
        )
        check_cohort(len(checked.patients), self._policy)
        data = self._record(checked, dataclasses.replace(context.departure, released=record))
        self._memory.mark.move()
        return data

    def _record(self, reply: SiteReply, departure: Entry) -> bytes:
        message = reply.to_message()
        data = wire.encode(message)
        digest = hashlib.sha256(data).hexdigest()
        self._ledger.append(
            dataclasses.replace(departure, kind=message.kind, n_bytes=len(data), sha256=digest)
        )
        return data


def _identity(entry: Entry) -> tuple[str, str, int, str, str]:
    return (entry.run, entry.job, entry.round, entry.input, entry.sha256)
