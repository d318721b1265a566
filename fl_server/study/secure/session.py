"""Preparing secure aggregation with the sites: one session of keys serves many rounds.

A phase over Flower takes seconds, so keys and shares are exchanged for up to 32 sums at once, each
with keys of its own. A round then costs two phases, training and unmasking. A session is prepared
again when a site has come that was never asked, when one has lost its part (a vault that was
restarted), or when too few of its sites are left. It is never stored: a resumed study begins
with a new one.
"""

import secrets
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from fl_server.study.context import StudyContext
from fl_server.study.enrolment import PASSING, deadline
from fl_server.study.sessions import Session
from infomri_core.messages import (
    AnnounceReply,
    AnnounceTask,
    ErrorReply,
    SecureTask,
    ShareReply,
    ShareTask,
    SiteReply,
)
from infomri_core.messages.secure import MAX_SLOTS
from infomri_core.plan.plan import Plan
from infomri_core.secagg.announcement import threshold_for

STAGE_SECONDS = 300.0
SPARE_SLOTS = 2

Reply = TypeVar("Reply", AnnounceReply, ShareReply)


def session_for(context: StudyContext, nodes: Sequence[str], number: int) -> Session | None:
    """A session that serves round ``number`` over ``nodes``; None where too few sites would take
    part, which is told."""
    sessions, fewest = context.sessions, context.plan.training.quorum
    if sessions.current is None or not sessions.current.serves(nodes, fewest):
        sessions.current = _prepared(context, nodes, number)
    return sessions.current


def stage_deadline(plan: Plan) -> float:
    """Unix time by which a short phase of secure aggregation must end."""
    return min(deadline(plan), time.time() + STAGE_SECONDS)


def _prepared(context: StudyContext, nodes: Sequence[str], number: int) -> Session | None:
    plan, until = context.plan, stage_deadline(context.plan)
    key, n_slots = secrets.token_hex(16), min(MAX_SLOTS, _sums_to_come(plan, number))
    asked: set[str] = set()
    announced = _ask(
        context,
        AnnounceTask(plan.text, number, until, key, n_slots),
        nodes,
        AnnounceReply,
        lambda node, reply: _own(reply, context.roster.name(node), n_slots),
        asked,
    )
    slots = tuple(zip(*(reply.announcements for reply in announced.values()), strict=True))
    names = {context.roster.name(node) for node in announced}
    shared = _ask(
        context,
        ShareTask(plan.text, number, stage_deadline(plan), key, slots),
        list(announced),
        ShareReply,
        lambda _, reply: (
            len(reply.shares) == n_slots and all(set(s) <= names for s in reply.shares)
        ),
        asked,
    )
    members = {node: context.roster.name(node) for node in shared}
    rules = plan.aggregation
    threshold = threshold_for(rules.threshold, len(names), rules.degree)
    fewest = max(plan.training.quorum, threshold)
    if len(members) < fewest:
        sentence = f"round {number}: {len(members)} sites made keys, {fewest} are needed"
        context.progress.report("waiting", sentence)
        return None
    shares = tuple(
        {members[node]: reply.shares[slot] for node, reply in shared.items()}
        for slot in range(n_slots)
    )
    told = f"keys for {n_slots} sums of {len(members)} sites; {threshold} of them can unmask one"
    context.progress.report("secure", told)
    return Session(key, slots, shares, members, frozenset(asked), threshold)


def _sums_to_come(plan: Plan, number: int) -> int:
    return plan.training.rounds - number + 1 + SPARE_SLOTS


def _own(reply: AnnounceReply, name: str, n_slots: int) -> bool:
    return [a.name for a in reply.announcements] == [name] * n_slots


def _ask(
    context: StudyContext,
    task: SecureTask,
    nodes: Sequence[str],
    kind: type[Reply],
    fits: Callable[[str, Reply], bool],
    asked: set[str],
) -> dict[str, Reply]:
    """Replies of the ``kind`` that fit, by node in a fixed order. Who answered is ``asked``, but
    for refusals that may pass."""
    replies: dict[str, Reply] = {}
    for node, reply in context.sites.ask(task, nodes):
        if isinstance(reply, kind) and fits(node, reply):
            replies[node] = reply
        else:
            context.roster.report_refusal(node, reply, task.round)
        if not _passing(reply):
            asked.add(node)
    return dict(sorted(replies.items()))


def _passing(reply: SiteReply) -> bool:
    return isinstance(reply, ErrorReply) and reply.code in PASSING
