"""The site's privacy budget: one accountant for all that was ever trained on its patients.

Its memory is the ledger: each update that left says what it did to the data, and is on the disk
before the bytes leave. So an update whose reply was lost is counted, one that never left is not,
and bytes sent again are not counted twice. Rounds, arms and studies all add up.
"""

import logging
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from fl_client.ledger import Entry
from fl_client.settings import Policy
from infomri_core.data.base import SliceTable
from infomri_core.errors import Refused
from infomri_core.exchange import EnrolTask, SiteTask, TrainTask
from infomri_core.plan import Plan
from infomri_core.privacy.accounting import Mechanism, epsilon, round_mechanism

log = logging.getLogger(__name__)


def round_cost(plan: Plan, task: SiteTask, table: SliceTable) -> Mechanism | None:
    """What one round of ``plan`` does to this site's training patients (or slices): of the arms
    that ``task`` has, or of all. None for other jobs, and for plans without ``[privacy]``."""
    if plan.privacy is None or not isinstance(task, EnrolTask | TrainTask):
        return None
    n_arms = len(task.arms) if isinstance(task, TrainTask) else len(plan.arms)
    trained = table.patients[table.split == "train"]
    n_units = len(np.unique(trained)) if plan.privacy.unit == "patient" else len(trained)
    return round_mechanism(plan.privacy, plan.training.local_steps, n_arms, n_units)


def check_budget(
    plan: Plan, task: SiteTask, cost: Mechanism | None, entries: Iterable[Entry], policy: Policy
) -> None:
    """Raise ``Refused("budget")``, before any work, for a study that would pass the site's budget
    with the rounds it has still to come, and where there is a budget for one without privacy."""
    if policy.max_epsilon is None or not isinstance(task, EnrolTask | TrainTask):
        return
    if plan.privacy is None or cost is None:
        raise Refused("budget", "this site trains with differential privacy only")
    if plan.privacy.delta > policy.max_delta:
        sentence = (
            f"the plan's delta is {plan.privacy.delta:g}, this site allows {policy.max_delta:g}"
        )
        raise Refused("budget", sentence)
    entries = list(entries)
    left = {entry.round for entry in _counted(entries) if entry.run == plan.digest}
    to_come = set(range(1, plan.training.rounds + 1)) - left
    if isinstance(task, TrainTask):
        to_come.add(task.round)
    noise, rate, steps = cost
    whole = epsilon([*spent(entries), (noise, rate, steps * len(to_come))], policy.max_delta)
    if whole > policy.max_epsilon:
        log.warning("the study would bring this site to epsilon %.4g: refused", whole)
        raise Refused("budget", "the whole study would pass this site's privacy budget")


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
    """The epsilon that leaves with an update: this study's alone, at the plan's delta, rounded up
    to two decimals (it follows from the site's exact number of patients). None without privacy.
    Raises ``Refused("budget")`` where the noise is too weak for any."""
    if plan.privacy is None or cost is None:
        return None
    total = epsilon([*spent(entries, plan.digest), cost], plan.privacy.delta)
    if not math.isfinite(total):
        raise Refused("budget", "the plan's noise is too weak for any epsilon")
    return math.ceil(total * 100) / 100


def _counted(entries: Iterable[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry.privacy and not entry.repetition]
