"""A round of training of which the study centre sees the sum only.

Sites train as ever and send their updates masked (:mod:`infomri_core.secagg`); once all have
answered, those that delivered give the shares that undo the masks of the sum. Which site's arm
diverged, and each site's losses, cannot be seen either: their sums can.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np

from fl_server.study.context import Setting, State
from fl_server.study.enrolment import deadline
from fl_server.study.epsilon import check_epsilon
from fl_server.study.reply_check import check_lost_state, tell_lost_state
from fl_server.study.secure.session import Session, stage_deadline
from infomri_core.messages import (
    ErrorReply,
    MaskedReply,
    Masking,
    TrainTask,
    UnmaskReply,
    UnmaskTask,
    question_of,
)
from infomri_core.messages.secure import context_of
from infomri_core.secagg import Collector, Unmasking
from infomri_core.secagg.update import UpdateSum, ring_size, sum_from_ring
from infomri_core.system.errors import InputError, Refused


@final
@dataclass
class MaskedAnswers:
    """What a round under secure aggregation gave; without a ``total`` it is to be tried again.
    ``epsilons``: what each site told of its spending, whether its update was used or not."""

    number: int
    sites: Sequence[str] = ()
    total: UpdateSum | None = None
    epsilons: dict[str, float | None] = field(default_factory=dict)
    lost_state: dict[str, list[str]] = field(default_factory=dict)

    @property
    def n_samples(self) -> int:
        """Samples of all sites in the sum."""
        return self.total.n_samples if self.total else 0

    def mean(self, name: str) -> np.ndarray:
        """The sample-weighted mean of an arm's weights, float32 (n,)."""
        assert self.total is not None
        return self.total.arms[name].mean()

    def losses(self) -> dict[str, Mapping[str, float]]:
        """Loss terms of each arm, averaged over the samples of the sum."""
        arms = self.total.arms if self.total else {}
        return {name: arm.losses for name, arm in arms.items() if arm.losses}

    def dropped(self, quorum: int) -> dict[str, str]:
        """Arms that fewer sites than ``quorum`` brought through the round, and why."""
        arms = self.total.arms if self.total else {}
        return {
            name: f"diverged at {len(self.sites) - arm.n_sites} of {len(self.sites)} sites"
            for name, arm in arms.items()
            if arm.n_sites < quorum
        }


def gather_masked(setting: Setting, state: State, number: int) -> MaskedAnswers:
    """The sum of the sites' updates in round ``number``, or an answer without one; every reason
    is told."""
    nodes, answers = setting.roster.participants(number), MaskedAnswers(number)
    session = setting.sessions.get(setting, nodes, number)
    if session is None:
        return answers
    present = [node for node in nodes if node in session.members]
    slot = session.take_slot()
    task = _task(setting, state, number, session, slot, present)
    collector = _collector(setting, session, task)
    _collect(setting, session, task, present, collector, answers)
    delivered = collector.delivered
    fewest = max(setting.plan.training.quorum, session.threshold)
    if len(delivered) < fewest:
        _tell(setting, number, f"{len(delivered)} masked updates came, {fewest} are needed")
        return answers
    sizes = {name: len(flat) for name, flat in state.arms.items()}
    with_losses = setting.plan.privacy is None or setting.plan.privacy.losses
    try:
        ring = collector.total(_unmaskings(setting, session, number, slot, collector))
        answers.total = sum_from_ring(
            ring, sizes, setting.plan.task.told_terms, len(delivered), with_losses
        )
        answers.sites = delivered
        _tell_diverged(setting, answers)
    except (Refused, ValueError) as error:
        session.lost = True
        _tell(setting, number, f"the sum over {', '.join(delivered)} is not had: {error}")
    return answers


def _task(
    setting: Setting,
    state: State,
    number: int,
    session: Session,
    slot: int,
    present: Sequence[str],
) -> TrainTask:
    plan, shares = setting.plan, session.shares[slot]
    names = [session.members[node] for node in present]
    masking = Masking(session.key, slot, {name: shares[name] for name in names})
    return TrainTask(plan.text, number, deadline(plan), state.variance, state.arms, masking)


def _collector(setting: Setting, session: Session, task: TrainTask) -> Collector:
    masking, plan = task.masking, setting.plan
    assert masking is not None
    return Collector(
        ring_size({name: len(flat) for name, flat in task.arms.items()}, plan.task.told_terms),
        context_of(plan.digest, session.key, masking.slot),
        session.threshold,
        session.announcements[masking.slot],
        list(masking.shares),
        plan.aggregation.degree,
        masking.binding(question_of(task)),
    )


def _collect(
    setting: Setting,
    session: Session,
    task: TrainTask,
    present: Sequence[str],
    collector: Collector,
    answers: MaskedAnswers,
) -> None:
    """Add masked updates to ``collector`` as they arrive."""
    for node, reply in setting.sites.ask(task, present):
        if not isinstance(reply, MaskedReply):
            session.lost |= isinstance(reply, ErrorReply) and reply.code == "secure-aggregation"
            setting.roster.tell_refusal(node, reply, task.round)
            continue
        name = session.members[node]
        answers.epsilons[name] = reply.epsilon
        try:
            check_epsilon(setting.plan, reply)
            check_lost_state(setting.plan, reply, task.arms)
            collector.add(name, reply.vector)
            tell_lost_state(setting, answers, name, reply.lost_state)
        except (InputError, Refused) as error:
            _tell(setting, task.round, f"reply of {name} not used: {error}")


def _unmaskings(
    setting: Setting, session: Session, number: int, slot: int, collector: Collector
) -> dict[str, Unmasking]:
    """Shares of the sites that delivered, until they are enough."""
    plan, delivered = setting.plan, tuple(collector.delivered)
    nodes = [node for node, name in session.members.items() if name in delivered]
    task = UnmaskTask(plan.text, number, stage_deadline(plan), session.key, slot, delivered)
    answers: dict[str, Unmasking] = {}
    for node, reply in setting.sites.ask(task, nodes):
        if isinstance(reply, UnmaskReply):
            answers[session.members[node]] = reply.unmasking
        else:
            setting.roster.tell_refusal(node, reply, number)
        if collector.enough(answers):
            break
    return answers


def _tell(setting: Setting, number: int, sentence: str) -> None:
    setting.progress.tell("refused", f"round {number}: {sentence}")


def _tell_diverged(setting: Setting, answers: MaskedAnswers) -> None:
    n_sites = len(answers.sites)
    for name, arm in answers.total.arms.items() if answers.total else ():
        if arm.n_sites < n_sites:
            where = f"{n_sites - arm.n_sites} of {n_sites} sites, which ones is hidden"
            sentence = f"round {answers.number}: arm {name} diverged at {where}"
            setting.progress.tell("diverged", sentence)
