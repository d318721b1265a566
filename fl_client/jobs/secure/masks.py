"""What the three jobs of secure aggregation have in common: they ask nothing of any patient."""

from collections.abc import Callable
from typing import Any

from fl_client.gate.context import Check, Context
from fl_client.jobs.declaration import Job, Premises, always_ready, training_rows
from fl_client.jobs.forms import check_masking, check_round
from fl_client.memory.study import of_study
from fl_client.policy.cost import Cost
from infomri_core.data.base import SliceTable
from infomri_core.messages import AnnounceTask, ShareTask, SiteReply, UnmaskTask
from infomri_core.plan.plan import Plan


def admit(context: Context, premises: Premises) -> Context:
    """A round of a plan with secure aggregation."""
    assert isinstance(context.task, AnnounceTask | ShareTask | UnmaskTask)
    check_round(context.task.round, context.plan)
    check_masking(context.plan, masked=True)
    return context


def cost(plan: Plan, task: Any, table: SliceTable) -> Cost:
    """Keys and shares are random."""
    return Cost(epsilon=None, inputs=0, figures=0)


def figures(plan: Plan) -> int:
    """None."""
    return 0


def bounded(plan: Plan) -> bool:
    """They say nothing of patients."""
    return True


def array_bytes(plan: Plan, premises: Premises) -> int:
    """Keys and shares stand in the header."""
    return 0


def run(context: Context, premises: Premises, cancelled: Callable[[], bool]) -> SiteReply:
    """The session's answer. What was unmasked before counts for the study, whichever of its plans
    asked for it."""
    plan, task = context.plan, context.task
    assert isinstance(task, AnnounceTask | ShareTask | UnmaskTask)
    entries = of_study(premises.entries(), plan)
    return premises.sessions.answer(plan, task, context.ledger_entry, entries)


def job(name: str, task: type, check_reply: Check) -> Job:
    """One of the three, which differ in their task and in how its reply is checked."""
    return Job(
        name=name,
        task=task,
        admit=admit,
        rows=training_rows,
        cost=cost,
        figures=figures,
        bounded=bounded,
        one_state=False,
        kept=True,
        array_bytes=array_bytes,
        ready=always_ready,
        run=run,
        check_reply=check_reply,
    )
