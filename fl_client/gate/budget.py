"""The site's privacy budget: one accountant for all that was ever trained on its patients.

Its memory is the ledger: a charge says what a job does to the data, and is on the disk before the
first row is read. So a round whose reply was lost, that crashed or met its deadline is counted;
run again it draws fresh noise and is counted again; bytes sent again are not. Rounds, arms and
studies all add up. Ledgers from before charges were kept say it with the update that left.
"""

import dataclasses
import logging
import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from fl_client.gate.context import Context
from fl_client.memory.ledger import Entry
from fl_client.memory.study import of_study
from fl_client.settings import Policy
from infomri_core.dp.accounting import (
    Mechanism,
    epsilon,
    moments_mechanism,
    round_mechanism,
)
from infomri_core.messages import (
    EnrolTask,
    EvaluateTask,
    MomentsReply,
    MomentsTask,
    SiteTask,
    TrainReply,
    TrainTask,
)
from infomri_core.messages.budget import Budget
from infomri_core.plan.alone import n_trained
from infomri_core.plan.plan import Plan
from infomri_core.score_noise.mechanism import evaluation_mechanism
from infomri_core.system.errors import Refused

Update = TypeVar("Update", TrainReply, MomentsReply)

log = logging.getLogger(__name__)


def check_budget(
    plan: Plan,
    task: SiteTask,
    entries: Iterable[Entry],
    policy: Policy,
    *,
    bounded: bool,
    again: bool = False,
) -> None:
    """Raise ``Refused("budget")``, before any work, for a study that would pass the site's budget
    with all that is still to come of it, and where there is a budget for a job that epsilon does
    not bound. ``again``: the answer is kept and costs nothing more."""
    if policy.max_epsilon is None:
        return
    if not bounded:
        raise Refused("budget", "this site trains with differential privacy only")
    if not isinstance(task, EnrolTask | MomentsTask | TrainTask | EvaluateTask):
        return
    if not plan.evaluation.noise:
        raise Refused("budget", "this site lets scores leave under noise only")
    delta = max(0.0 if plan.privacy is None else plan.privacy.delta, plan.evaluation.delta)
    if delta > policy.max_delta:
        sentence = f"the plan's delta is {delta:g}, this site allows {policy.max_delta:g}"
        raise Refused("budget", sentence)
    entries = list(entries)
    rest = [] if again else to_come(plan, task, entries)
    whole = epsilon([*spent(entries), *rest], policy.max_delta)
    if whole > policy.max_epsilon:
        log.warning("the study would bring this site to epsilon %.4g: refused", whole)
        raise Refused("budget", "the whole study would pass this site's privacy budget")


def to_come(plan: Plan, task: SiteTask | None, entries: Iterable[Entry]) -> list[Mechanism]:
    """What is left to do of ``plan``: its moments, rounds and scoring without those charged
    already, with what ``task`` asks for, whether it was charged before or not."""
    left = {(e.job, e.round) for e in _counted(of_study(entries, plan))}
    scoring = evaluation_mechanism(plan)
    scored = any(job == "evaluate" for job, _ in left) and not isinstance(task, EvaluateTask)
    last = [] if scoring is None or scored else [scoring]
    if plan.privacy is None or isinstance(task, EvaluateTask):
        return last
    rounds = {n for n in range(1, plan.training.rounds + 1) if ("train", n) not in left}
    n_models = n_trained(plan)
    if isinstance(task, TrainTask):
        rounds.add(task.round)
        n_models = n_trained(plan, task.arms)
    asked = isinstance(task, MomentsTask) or (
        not isinstance(task, TrainTask) and ("moments", 0) not in left
    )
    first = [moments_mechanism(plan.moments)] if plan.moments is not None and asked else []
    noise, rate, steps = round_mechanism(plan.privacy, plan.training.local_steps, n_models)
    return [*first, (noise, rate, steps * len(rounds)), *last]


def spent(entries: Iterable[Entry]) -> list[Mechanism]:
    """What ran on the data so far, of all ``entries``."""
    return [
        (float(e.privacy["noise_multiplier"]), float(e.privacy["rate"]), int(e.privacy["steps"]))
        for e in _counted(entries)
    ]


def debit(cost: Mechanism, entries: Iterable[Entry], policy: Policy) -> dict[str, Any]:
    """What the ledger says of a mechanism before it runs: its parts, and ``epsilon`` of all that
    ever ran, with it, at ``delta``, the site's own."""
    total = epsilon([*spent(entries), cost], policy.max_delta)
    return {
        "noise_multiplier": cost[0],
        "rate": cost[1],
        "steps": cost[2],
        "epsilon": total if math.isfinite(total) else None,
        "delta": policy.max_delta,
    }


def with_spending(
    reply: Update, context: Context, entries: Iterable[Entry], policy: Policy
) -> Update:
    """``reply`` with what its study has spent here and, where the site tells it, its budget."""
    privacy = {} if context.charge is None else context.charge.privacy
    return dataclasses.replace(
        reply,
        epsilon=reported_epsilon(context.plan, entries),
        budget=reported_budget(privacy, policy),
    )


def reported_epsilon(plan: Plan, entries: Iterable[Entry]) -> float | None:
    """The epsilon that leaves with a reply: all that this study was charged here, at the plan's
    delta, rounded up to two decimals. It follows from the plan and from what was asked, and tells
    nothing of how many patients there are. None without privacy. Raises ``Refused("budget")``
    where the noise is too weak for any."""
    if plan.privacy is None:
        return None
    trained = (entry for entry in of_study(entries, plan) if entry.job != "evaluate")
    total = epsilon(spent(trained), plan.privacy.delta)
    if not math.isfinite(total):
        raise Refused("budget", "the plan's noise is too weak for any epsilon")
    return math.ceil(total * 100) / 100


def reported_budget(debited: Mapping[str, Any], policy: Policy) -> Budget | None:
    """The budget that leaves with an update that was ``debited``, where the site tells it: what
    all studies have spent, rounded up as their epsilon is, and the site's limit."""
    spent_by_all, limit = debited.get("epsilon"), policy.max_epsilon
    if not policy.report_budget or spent_by_all is None or limit is None:
        return None
    return Budget(math.ceil(spent_by_all * 100) / 100, limit)


def _counted(entries: Iterable[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry.privacy and not entry.repetition]
