"""The gate: everything that leaves this site passes here, as typed values, checked and recorded.

A reply is compared with the task that asked for it, the plan and the site's policy, made coarse
where the policy says so, written to the ledger, and only then becomes bytes. Limits: the histogram
and the image quality are exact sums over the scored patients, and the weights carry whatever
training put into them, which epsilon bounds where the plan has ``[privacy]``.
"""

import dataclasses
import hashlib
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np

from fl_client import budget
from fl_client.frozen import counts_of, frozen_counts
from fl_client.ledger import Entry, Ledger
from fl_client.policy import check_cohort
from fl_client.release_gate import Consent, admitted_release
from fl_client.release_memory import ReleaseMemory
from fl_client.settings import Policy
from infomri_core import wire
from infomri_core.errors import Refused
from infomri_core.exchange import (
    DatasetCard,
    EnrolTask,
    ErrorReply,
    EvaluateReply,
    EvaluateTask,
    ReleaseReply,
    ReleaseTask,
    Scores,
    SiteReply,
    SiteTask,
    TrainReply,
    TrainTask,
)
from infomri_core.metrics import N_BINS, ImageQuality, ScoreHistogram
from infomri_core.plan import Plan
from infomri_core.privacy.accounting import Mechanism
from infomri_core.privacy.adversaries import LINKAGE
from infomri_core.privacy.linkage_summary import LinkageSummary

MAX_SENTENCE = 400
_LOSS_TERMS = {"ce", "entropy"}

log = logging.getLogger(__name__)


@final
@dataclass(frozen=True)
class Context:
    """What a reply is judged by: the approved plan, the task that asked, and the patients behind
    the reply. ``class_patients`` (L,): the smaller of the numbers of patients with and without
    the finding; ``positive_patients`` (L,): those with it. ``departure``: the ledger entry of
    the reply, but for what left; ``consent``: whose k-space a release may hold; ``cost``: what
    the job does to the privacy budget."""

    site: str
    plan: Plan
    task: SiteTask
    departure: Entry
    n_patients: int
    positive_patients: tuple[int, ...]
    class_patients: tuple[int, ...]
    consent: Consent | None = None
    cost: Mechanism | None = None


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
        if isinstance(reply, DatasetCard) and isinstance(context.task, EnrolTask):
            return self._carded(self._card(reply, context), context.departure)
        if isinstance(reply, TrainReply) and isinstance(context.task, TrainTask):
            return self._record(*self._trained(reply, context, context.task))
        if isinstance(reply, EvaluateReply) and isinstance(context.task, EvaluateTask):
            checked: SiteReply = self._evaluated(reply, context, context.task)
        elif isinstance(reply, ReleaseReply) and isinstance(context.task, ReleaseTask):
            return self._released(reply, context, context.task)
        else:
            raise _unfit("a reply that is not the task's")
        return self._record(checked, context.departure)

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

    def _carded(self, card: DatasetCard, departure: Entry) -> bytes:
        """The card with the counts that left before, or these, noted as the first."""
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

    def _released(self, reply: ReleaseReply, context: Context, task: ReleaseTask) -> bytes:
        if context.consent is None:
            raise _unfit("a release without consent")
        checked, record = admitted_release(
            reply, task, context.plan, context.consent, context.departure, self._memory
        )
        check_cohort(len(checked.patients), self._policy)
        data = self._record(checked, dataclasses.replace(context.departure, released=record))
        self._memory.remember()
        return data

    def _record(self, reply: SiteReply, departure: Entry) -> bytes:
        message = reply.to_message()
        data = wire.encode(message)
        digest = hashlib.sha256(data).hexdigest()
        self._ledger.append(
            dataclasses.replace(departure, kind=message.kind, n_bytes=len(data), sha256=digest)
        )
        return data

    def _card(self, card: DatasetCard, context: Context) -> DatasetCard:
        task = context.plan.task
        known = (card.site, card.labels, card.shape) == (context.site, task.labels, task.shape)
        if not known or len(card.n_positive) != len(task.labels):
            raise _unfit("a card of another site, shape or labels")
        if any(len(key) > 40 or len(value) > 40 for key, value in card.versions.items()):
            raise _unfit("a card with odd versions")
        positive = [
            self._coarse(n) if patients >= self._policy.min_cohort else 0
            for n, patients in zip(card.n_positive, context.positive_patients, strict=True)
        ]
        return dataclasses.replace(
            card,
            n_patients=self._coarse(card.n_patients),
            n_slices=self._coarse(card.n_slices),
            n_positive=tuple(positive),
        )

    def _trained(
        self, reply: TrainReply, context: Context, task: TrainTask
    ) -> tuple[TrainReply, Entry]:
        if sorted([*reply.arms, *reply.dropped]) != sorted(task.arms):
            raise _unfit("other arms than were asked for")
        for name, flat in reply.arms.items():
            asked = task.arms[name]
            if (flat.dtype, flat.shape) != (asked.dtype, asked.shape):
                raise _unfit("weights of another form")
            if not np.isfinite(flat).all():
                raise _unfit("weights that are not finite")
        _check_losses(reply.losses, reply.arms, context.plan)
        n_samples = self._coarse(reply.n_samples)
        if n_samples == 0:
            raise Refused("cohort", "too few slices stand behind this job at this site")
        plan, cost, entries = context.plan, context.cost, self._ledger.entries()
        epsilon = budget.told_epsilon(plan, cost, entries)
        privacy = budget.debit(cost, entries, self._policy) if cost is not None else {}
        checked = dataclasses.replace(reply, n_samples=n_samples, epsilon=epsilon)
        return checked, dataclasses.replace(context.departure, privacy=privacy)

    def _evaluated(
        self, reply: EvaluateReply, context: Context, task: EvaluateTask
    ) -> EvaluateReply:
        plan = context.plan
        if task.round != plan.training.rounds:
            raise _unfit("scores before the last round")
        cells = {(arm, a) for arm in task.arms for a in plan.measurement.accelerations}
        if set(reply.scores) != cells or reply.n_patients != context.n_patients:
            raise _unfit("other scores than were asked for")
        keep = np.array([n >= self._policy.min_class_cohort for n in context.class_patients])
        scores = {
            cell: Scores(
                _histogram(scores.histogram, plan, keep),
                {name: _quality(q, name, task) for name, q in scores.quality.items()},
                self._linkage(scores.linkage, plan, task),
            )
            for cell, scores in reply.scores.items()
        }
        return EvaluateReply(self._coarse(reply.n_patients), scores)

    def _linkage(
        self, linkage: LinkageSummary | None, plan: Plan, task: EvaluateTask
    ) -> LinkageSummary | None:
        """Coarse success of matching; a kind with fewer measurements than the minimum cohort
        (one a patient) leaves empty."""
        if linkage is None:
            return None
        if LINKAGE not in task.attacks or len(linkage.means) != plan.evaluation.replicates + 1:
            raise _unfit("a linkage that nobody asked for")
        weight = [
            self._coarse(int(n)) if n >= self._policy.min_cohort else 0 for n in linkage.weight
        ]
        keep = np.array(weight) > 0
        gallery = [float(self._coarse(int(n))) for n in linkage.gallery]
        coarse = linkage.rounded()
        arrays = {
            "means": np.where(keep[:, None], coarse.means, 0),
            "weight": np.array(weight, np.float64),
            "gallery": np.where(keep, gallery, 0.0),
        }
        try:
            return LinkageSummary.from_arrays(arrays)
        except ValueError:
            raise _unfit("a linkage that is not one") from None

    def _coarse(self, count: int) -> int:
        """A count, rounded down to the site's step."""
        return count - count % self._policy.round_to


def _identity(entry: Entry) -> tuple[str, str, int, str, str]:
    return (entry.run, entry.job, entry.round, entry.input, entry.sha256)


def _check_losses(
    losses: Mapping[str, Mapping[str, float]], arms: wire.Arrays, plan: Plan
) -> None:
    if losses and plan.privacy is not None and not plan.privacy.losses:
        raise _unfit("losses that stand outside epsilon")
    for name, terms in losses.items():
        if name not in arms or not set(terms) <= _LOSS_TERMS:
            raise _unfit("losses that nobody asked for")
        if not all(isinstance(v, float) and math.isfinite(v) for v in terms.values()):
            raise _unfit("losses that are not finite")


def _histogram(histogram: ScoreHistogram, plan: Plan, keep: np.ndarray) -> ScoreHistogram:
    """The histogram, with the counts of labels out of ``keep`` (L,) emptied."""
    form = (plan.evaluation.replicates + 1, len(plan.task.labels), 2, N_BINS)
    if histogram.counts.shape != form:
        raise _unfit("a histogram of another form")
    counts = np.where(keep[:, None, None], histogram.counts, 0)
    try:
        return ScoreHistogram.from_arrays({**histogram.to_arrays(), "counts": counts})
    except ValueError:
        raise _unfit("a histogram that is not one") from None


def _quality(quality: ImageQuality, name: str, task: EvaluateTask) -> ImageQuality:
    if name not in task.attacks:
        raise _unfit("the quality of an attack that nobody asked for")
    try:
        return ImageQuality.from_arrays(quality.rounded().to_arrays())
    except ValueError:
        raise _unfit("image quality that is not finite") from None


def _unfit(what: str) -> Refused:
    log.error("the gate held back %s", what)
    return Refused("gate", "the site's gate held the result back; its log says why")
