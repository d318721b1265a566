"""One question whose answers leave masked: ask the sites of a session, add, and unmask the sum."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from fl_server.study.context import StudyContext
from fl_server.study.secure.session import session_for, stage_deadline
from fl_server.study.sessions import Session
from infomri_core.messages import (
    ErrorReply,
    EvaluateTask,
    MaskedReply,
    Masking,
    TrainTask,
    UnmaskReply,
    UnmaskTask,
    task_digest,
)
from infomri_core.messages.secure import context_of
from infomri_core.secagg import Collector, Unmasking
from infomri_core.system.errors import InputError, Refused

T = TypeVar("T")
MaskedTask = TrainTask | EvaluateTask


@dataclass(frozen=True)
class Question:
    """``job``: what is asked in ``round``; ``task`` makes it with its masking; ``size``: the
    length of a masked answer. ``check(site, reply)`` raises ``InputError`` or ``Refused`` for a
    reply that must not be used, ``used`` is called with one that is."""

    job: str
    round: int
    task: Callable[[Masking], MaskedTask]
    size: int
    check: Callable[[str, MaskedReply], None]
    used: Callable[[str, MaskedReply], None] = lambda site, reply: None


def ask_masked(
    context: StudyContext,
    nodes: Sequence[str],
    question: Question,
    read: Callable[[np.ndarray, int], T],
) -> tuple[list[str], T] | None:
    """The sites in the sum, in ascending order, and what ``read`` makes of it, given their number;
    None where it is to be tried again, and every reason is reported."""
    session = session_for(context, nodes, question.round)
    if session is None:
        return None
    present = [node for node in nodes if node in session.members]
    slot = session.take_slot()
    shares = session.shares[slot]
    names = [session.members[node] for node in present]
    task = question.task(Masking(session.key, slot, {name: shares[name] for name in names}))
    collector = _collector(context, session, task, question.size)
    _collect(context, session, task, present, collector, question)
    delivered = collector.delivered
    fewest = max(context.plan.training.quorum, session.threshold)
    if len(delivered) < fewest:
        what = "updates" if question.job == "train" else "sums of scores"
        sentence = f"{len(delivered)} masked {what} came, {fewest} are needed"
        report(context, question.round, sentence)
        return None
    try:
        ring = collector.total(_unmaskings(context, session, slot, collector, question))
        return delivered, read(ring, len(delivered))
    except (Refused, ValueError) as error:
        session.lost = True
        sentence = f"the sum over {', '.join(delivered)} could not be computed: {error}"
        report(context, question.round, sentence)
        return None


def report(context: StudyContext, number: int, sentence: str) -> None:
    """Report why something of round ``number`` is not used."""
    context.progress.report("refused", f"round {number}: {sentence}")


def _collector(context: StudyContext, session: Session, task: MaskedTask, size: int) -> Collector:
    masking, plan = task.masking, context.plan
    assert masking is not None
    return Collector(
        size,
        context_of(plan.digest, session.key, masking.slot),
        session.threshold,
        session.announcements[masking.slot],
        list(masking.shares),
        plan.aggregation.degree,
        masking.binding(task_digest(task)),
    )


def _collect(
    context: StudyContext,
    session: Session,
    task: MaskedTask,
    present: Sequence[str],
    collector: Collector,
    question: Question,
) -> None:
    """Add masked answers to ``collector`` as they arrive."""
    for node, reply in context.sites.ask(task, present):
        if not isinstance(reply, MaskedReply):
            session.lost |= isinstance(reply, ErrorReply) and reply.code == "secure-aggregation"
            context.roster.report_refusal(node, reply, task.round)
            continue
        name = session.members[node]
        try:
            question.check(name, reply)
            collector.add(name, reply.vector)
            question.used(name, reply)
        except (InputError, Refused) as error:
            report(context, task.round, f"reply of {name} not used: {error}")


def _unmaskings(
    context: StudyContext, session: Session, slot: int, collector: Collector, question: Question
) -> dict[str, Unmasking]:
    """Shares of the sites that delivered, until they are enough."""
    plan, delivered = context.plan, tuple(collector.delivered)
    nodes = [node for node, name in session.members.items() if name in delivered]
    until, number = stage_deadline(plan), question.round
    task = UnmaskTask(plan.text, number, until, session.key, slot, delivered, question.job)
    answers: dict[str, Unmasking] = {}
    for node, reply in context.sites.ask(task, nodes):
        if isinstance(reply, UnmaskReply):
            answers[session.members[node]] = reply.unmasking
        else:
            context.roster.report_refusal(node, reply, number)
        if collector.enough(answers):
            break
    return answers
