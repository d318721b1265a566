"""Which question a message asks, as ledger, cache and counters know it."""

import dataclasses
import hashlib

from fl_client.gate.context import Context
from fl_client.memory.ledger import Entry
from fl_client.settings import JOBS, Policy
from infomri_core.messages import (
    EnrolTask,
    EvaluateTask,
    MomentsTask,
    SiteTask,
    TrainTask,
    task_digest,
    wire,
)
from infomri_core.messages.secure import SECURE_JOBS

LISTED = (*JOBS, *SECURE_JOBS)
UNREAD = Entry(run="", job="unknown", round=0, kind="", n_bytes=0, sha256="")
"""The entry of a message that cannot be read."""


def ledger_entry_of(task: SiteTask, data: str = "", study: str = "") -> Entry:
    """The ledger entry of an answer to ``task``, asked of ``data`` by ``study``, but for what
    left. ``input`` is the question, so that a task sent again, with a new deadline, is the same
    task."""
    return Entry(
        run=hashlib.sha256(task.plan_text.encode()).hexdigest(),
        job=task.to_message().kind,
        round=0 if isinstance(task, EnrolTask | MomentsTask) else task.round,
        kind="",
        n_bytes=0,
        sha256="",
        input=task_digest(task),
        data=data,
        study=study,
    )


def header_entry(head: wire.Message) -> Entry:
    """What the ledger says of a refusal of a message that was not decoded."""
    text, number = head.header.get("plan"), head.header.get("round")
    known = head.kind in LISTED and isinstance(text, str)
    if not known:
        return UNREAD
    return dataclasses.replace(
        UNREAD,
        run=hashlib.sha256(str(text).encode("utf-8", "replace")).hexdigest(),
        job=head.kind,
        round=number if isinstance(number, int) and abs(number) < 2**31 else 0,
    )


def question_in(entry: Entry) -> tuple[str, int, str, str]:
    """By what two entries of one study are of the same question, asked of the same data."""
    return (entry.job, entry.round, entry.input, entry.data)


def reply_key(context: Context, policy: Policy, *, bare: bool = False) -> str:
    """Under which key the reply is kept: the question, the state of the data it was asked of,
    the site's policy, and the masks if it is to leave masked; ``bare``: before its masks."""
    task, ledger_entry = context.task, context.ledger_entry
    key = [ledger_entry.run, ledger_entry.job, ledger_entry.input, ledger_entry.data, repr(policy)]
    if bare:
        key.append("bare")
    elif isinstance(task, TrainTask | EvaluateTask) and task.masking is not None:
        key.append(task.masking.binding(ledger_entry.input).hex())
    return hashlib.sha256(repr(tuple(key)).encode()).hexdigest()
