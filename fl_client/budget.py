"""The site's privacy budget: one accountant for all that was ever trained on its patients.

Its memory is the ledger: each update that left says what it did to the data, and is on the disk
before the bytes leave. So an update whose reply was lost is counted, one that never left is not,
and bytes sent again are not counted twice. Rounds, arms and studies all add up.
"""

import logging
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from fl_client.ledger import Entry
from fl_client.settings import Policy
from infomri_core.data.base import SliceTable
from infomri_core.errors import Refused
from infomri_core.exchange import EnrolTask, EvaluateTask, MomentsTask, SiteTask, TrainTask
from infomri_core.exchange.budget import Budget
from infomri_core.plan import Plan
from infomri_core.privacy.accounting import (
    Mechanism,
    epsilon,
    moments_mechanism,
    round_mechanism,
)
from infomri_core.privacy.score_noise import evaluation_mechanism

log = logging.getLogger(__name__)


def job_cost(plan: Plan, task: SiteTask, table: SliceTable) -> Mechanism | None:
    """What answering ``task`` does to this site's training patients (or slices), or to those it
    scores. None for jobs that say nothing of them, and where the plan has no noise."""
    if isinstance(task, EvaluateTask):
        return evaluation_mechanism(plan)
    if plan.privacy is not None and isinstance(task, TrainTask):
        n_units, n_steps = n_protected(plan, table), plan.training.local_steps
        return round_mechanism(plan.privacy, n_steps, len(task.arms), n_units)
    if plan.moments is not None and isinstance(task, MomentsTask):
        return moments_mechanism(plan.moments)
    return None


def check_budget(
    plan: Plan, task: SiteTask, table: SliceTable, entries: Iterable[Entry], policy: Policy
) -> None:
    """Raise ``Refused("budget")``, before any work, for a study that would pass the site's budget
    with all that is still to come of it, and where there is a budget for one without privacy."""
    if policy.max_epsilon is None or not isinstance(
        task, EnrolTask | MomentsTask | TrainTask | EvaluateTask
    ):
        return
    if plan.privacy is None:
        raise Refused("budget", "this site trains with differential privacy only")
    if not plan.evaluation.noise:
        raise Refused("budget", "this site lets scores leave under noise only")
    delta = max(plan.privacy.delta, plan.evaluation.delta)
    if delta > policy.max_delta:
        sentence = f"the plan's delta is {delta:g}, this site allows {policy.max_delta:g}"
        raise Refused("budget", sentence)
    entries = list(entries)
    whole = epsilon([*spent(entries), *to_come(plan, task, table, entries)], policy.max_delta)
    if whole > policy.max_epsilon:
        log.warning("the study would bring this site to epsilon %.4g: refused", whole)
        raise Refused("budget", "the whole study would pass this site's privacy budget")


def to_come(
    plan: Plan, task: SiteTask | None, table: SliceTable, entries: Iterable[Entry]
) -> list[Mechanism]:
    """What is left to do of ``plan``: its moments, rounds and scoring without those that left,
    with what ``task`` asks for, whether it left before or not."""
    if plan.privacy is None:
        return []
    left = {(e.job, e.round) for e in _counted(entries) if e.run == plan.digest}
    scoring = evaluation_mechanism(plan)
    scored = any(job == "evaluate" for job, _ in left) and not isinstance(task, EvaluateTask)
    last = [] if scoring is None or scored else [scoring]
    if isinstance(task, EvaluateTask):
        return last
    rounds = {n for n in range(1, plan.training.rounds + 1) if ("train", n) not in left}
    n_arms = len(plan.arms)
    if isinstance(task, TrainTask):
        rounds.add(task.round)
        n_arms = len(task.arms)
    asked = isinstance(task, MomentsTask) or (
        not isinstance(task, TrainTask) and ("moments", 0) not in left
    )
    first = [moments_mechanism(plan.moments)] if plan.moments is not None and asked else []
    noise, rate, steps = round_mechanism(
        plan.privacy, plan.training.local_steps, n_arms, n_protected(plan, table)
    )
    return [*first, (noise, rate, steps * len(rounds)), *last]


def n_protected(plan: Plan, table: SliceTable) -> int:
    """How many patients (or slices) of ``table`` the plan trains on."""
    trained = table.patients[table.split == "train"]
    by_patient = plan.privacy is None or plan.privacy.unit == "patient"
    return len(np.unique(trained)) if by_patient else len(trained)


def spent(entries: Iterable[Entry], run: str | None = None) -> list[Mechanism]:
    """What left so far did to the data, of all studies or of the plan ``run``."""
    return [
        (float(e.privacy["noise_multiplier"]), float(e.privacy["rate"]), int(e.privacy["steps"]))
        for e in _counted(entries)
        if run in (None, e.run)
    ]


def debit(cost: Mechanism, entries: Iterable[Entry], policy: Policy) -> dict[str, Any]:
    """What the ledger says of an update that leaves now: its cost, and ``epsilon`` of all that
    ever left, with it, at ``delta``, the site's own."""
    total = epsilon([*spent(entries), cost], policy.max_delta)
    return {
        "noise_multiplier": cost[0],
        "rate": cost[1],
        "steps": cost[2],
        "epsilon": total if math.isfinite(total) else None,
        "delta": policy.max_delta,
    }


def told_epsilon(plan: Plan, cost: Mechanism | None, entries: Iterable[Entry]) -> float | None:
    """The epsilon that leaves with a reply: all that this study has spent here, with what the
    reply itself costs, at the plan's delta, rounded up to two decimals (it follows from the
    site's exact number of patients). None without privacy. Raises ``Refused("budget")`` where the
    noise is too weak for any."""
    if plan.privacy is None:
        return None
    trained = [entry for entry in entries if entry.job != "evaluate"]
    history = [*spent(trained, plan.digest), *([] if cost is None else [cost])]
    total = epsilon(history, plan.privacy.delta)
    if not math.isfinite(total):
        raise Refused("budget", "the plan's noise is too weak for any epsilon")
    return math.ceil(total * 100) / 100


def told_budget(debited: Mapping[str, Any], policy: Policy) -> Budget | None:
    """The budget that leaves with an update that was ``debited``, where the site tells it: what
    all studies have spent, rounded up as their epsilon is, and the site's limit."""
    spent_by_all, limit = debited.get("epsilon"), policy.max_epsilon
    if not policy.tell_budget or spent_by_all is None or limit is None:
        return None
    return Budget(math.ceil(spent_by_all * 100) / 100, limit)


def _counted(entries: Iterable[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry.privacy and not entry.repetition]
