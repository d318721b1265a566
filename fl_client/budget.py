"""The site's privacy budget: one accountant for all that was ever trained on its patients.

Its memory is the ledger: each update that left says what it did to the data, and is on the disk
before the bytes leave. So an update whose reply was lost is counted, one that never left is not,
and bytes sent again are not counted twice. Rounds, arms and studies all add up.
"""

import logging
import math
from collections.abc import Iterable, Mapping
from typing import Any

from fl_client.ledger import Entry
from fl_client.settings import Policy
from infomri_core.errors import Refused
from infomri_core.exchange import EnrolTask, MomentsTask, SiteTask, TrainTask
from infomri_core.exchange.budget import Budget
from infomri_core.plan import Plan
from infomri_core.privacy.accounting import (
    Mechanism,
    epsilon,
    moments_mechanism,
    round_mechanism,
)

log = logging.getLogger(__name__)


def job_cost(plan: Plan, task: SiteTask) -> Mechanism | None:
    """What answering ``task`` does to this site's training patients (or slices). None for jobs
    that say nothing of them, and for plans without ``[privacy]``."""
    if plan.privacy is not None and isinstance(task, TrainTask):
        return round_mechanism(plan.privacy, plan.training.local_steps, len(task.arms))
    if plan.moments is not None and isinstance(task, MomentsTask):
        return moments_mechanism(plan.moments)
    return None


def check_budget(plan: Plan, task: SiteTask, entries: Iterable[Entry], policy: Policy) -> None:
    """Raise ``Refused("budget")``, before any work, for a study that would pass the site's budget
    with all that is still to come of it, and where there is a budget for one without privacy."""
    if policy.max_epsilon is None or not isinstance(task, EnrolTask | MomentsTask | TrainTask):
        return
    if plan.privacy is None:
        raise Refused("budget", "this site trains with differential privacy only")
    if plan.privacy.delta > policy.max_delta:
        sentence = (
            f"the plan's delta is {plan.privacy.delta:g}, this site allows {policy.max_delta:g}"
        )
        raise Refused("budget", sentence)
    entries = list(entries)
    whole = epsilon([*spent(entries), *to_come(plan, task, entries)], policy.max_delta)
    if whole > policy.max_epsilon:
        log.warning("the study would bring this site to epsilon %.4g: refused", whole)
        raise Refused("budget", "the whole study would pass this site's privacy budget")


def to_come(plan: Plan, task: SiteTask | None, entries: Iterable[Entry]) -> list[Mechanism]:
    """What is left to do of ``plan``: its moments and rounds without those that left, with what
    ``task`` asks for, whether it left before or not."""
    if plan.privacy is None:
        return []
    left = {(e.job, e.round) for e in _counted(entries) if e.run == plan.digest}
    rounds = {n for n in range(1, plan.training.rounds + 1) if ("train", n) not in left}
    n_arms = len(plan.arms)
    if isinstance(task, TrainTask):
        rounds.add(task.round)
        n_arms = len(task.arms)
    asked = isinstance(task, MomentsTask) or (
        not isinstance(task, TrainTask) and ("moments", 0) not in left
    )
    first = [moments_mechanism(plan.moments)] if plan.moments is not None and asked else []
    noise, rate, steps = round_mechanism(plan.privacy, plan.training.local_steps, n_arms)
    return [*first, (noise, rate, steps * len(rounds))]


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
    reply itself costs, at the plan's delta, rounded up to two decimals. It follows from the plan
    and from what was asked, and tells nothing of how many patients there are. None without
    privacy. Raises ``Refused("budget")`` where the noise is too weak for any."""
    if plan.privacy is None:
        return None
    history = [*spent(entries, plan.digest), *([] if cost is None else [cost])]
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
