"""``evaluate``: scores of arms and attacks over the validation patients, after the last round."""

import dataclasses
from collections.abc import Callable, Collection

import numpy as np

from fl_client import budget
from fl_client.checks.scores import checked_scores
from fl_client.context import Context, Cost, unfit
from fl_client.jobs.declaration import Checked, Job, Premises, Rules, always_ready
from fl_client.jobs.forms import check_arms, check_last_round
from infomri_core.data.base import SliceTable
from infomri_core.errors import Refused
from infomri_core.exchange import EvaluateReply, EvaluateTask, SiteReply
from infomri_core.metrics import METRICS, N_BINS
from infomri_core.plan import Plan
from infomri_core.privacy.adversaries import DIAGNOSES, LINKAGE
from infomri_core.privacy.attacks import FLOORS
from infomri_core.privacy.linkage_summary import FIGURES, KINDS
from infomri_core.privacy.reader import READER, REPLICATES
from infomri_core.privacy.strengths import insider_attack, same_site_attacks


def admit(context: Context, premises: Premises) -> Context:
    """The last round, arms and attacks of the plan, finite."""
    plan, task = context.plan, context.task
    assert isinstance(task, EvaluateTask)
    check_last_round(task.round, plan, "scores leave")
    check_arms(task.arms, premises.sizes(plan))
    if not set(task.attacks) <= {*_attacks(plan), LINKAGE, READER}:
        raise Refused("bad-task", "the task has an attack that the plan has not")
    for name, arrays in task.attacks.items():
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise Refused("bad-task", f"the weights of attack {name} are not finite")
    return context


def rows(plan: Plan, premises: Premises) -> tuple[np.ndarray, ...]:
    """The scored slices and, for attacks trained at this very site, those they are trained on."""
    scored = premises.site.scored(plan)
    return (scored, premises.trained()) if same_site_attacks(plan) else (scored,)


def cost(plan: Plan, task: EvaluateTask, table: SliceTable) -> Cost:
    """Exact sums: no epsilon. A noise of their own (``[evaluation] epsilon``) is declared here."""
    drawn = _figures(plan, len(task.arms), {*task.attacks, *same_site_attacks(plan)})
    return Cost(epsilon=None, inputs=1, figures=drawn)


def figures(plan: Plan) -> int:
    """All arms and attacks, scored once."""
    attacks = {*_attacks(plan), *same_site_attacks(plan), LINKAGE, READER}
    return _figures(plan, len(plan.arms), attacks)


def bounded(plan: Plan) -> bool:
    """Scores are of other patients than were trained on, but for attacks trained here."""
    return not same_site_attacks(plan)


def array_bytes(plan: Plan, premises: Premises) -> None:
    """An attack may have any of the sizes that its architecture takes: the site's limit."""
    return


def run(context: Context, premises: Premises, cancelled: Callable[[], bool]) -> SiteReply:
    """Score."""
    return premises.site.run(context.plan, context.task, cancelled)


def check_reply(reply: SiteReply, context: Context, rules: Rules) -> Checked:
    """Coarse, with what the study has spent in all."""
    if not isinstance(reply, EvaluateReply) or not isinstance(context.task, EvaluateTask):
        raise unfit("a reply that is not the task's")
    scores = checked_scores(reply, context, context.task, rules.policy)
    spent = budget.told_epsilon(context.plan, rules.entries)
    return Checked(dataclasses.replace(scores, epsilon=spent))


def _attacks(plan: Plan) -> set[str]:
    """All that can be scored by name, but for those that the site trains itself."""
    insider = insider_attack(plan)
    return {*plan.evaluation.attacks, *FLOORS, *DIAGNOSES, *([insider] if insider else [])}


def _figures(plan: Plan, n_arms: int, attacks: Collection[str]) -> int:
    """Numbers in the summaries of ``n_arms`` arms and ``attacks``: each is told once and again in
    every replicate. Whether an attack broke down is one figure too."""
    n_sums, n_labels = plan.evaluation.replicates + 1, len(plan.task.labels)
    rebuilt = set(attacks) - {LINKAGE, READER}
    histogram = n_labels * 2 * N_BINS + 2
    cell = n_sums * histogram + len(rebuilt) * (n_sums * len(METRICS) + 1)
    if LINKAGE in attacks:
        cell += n_sums * len(KINDS) * len(FIGURES) + 2 * len(KINDS)
    if READER in attacks:
        read = len(rebuilt - {*FLOORS, *DIAGNOSES}) + 1
        cell += read * (min(REPLICATES, plan.evaluation.replicates) + 1) * histogram
    return n_arms * len(plan.measurement.accelerations) * cell + len(rebuilt) + 1


JOB = Job(
    name="evaluate",
    task=EvaluateTask,
    admit=admit,
    rows=rows,
    cost=cost,
    figures=figures,
    bounded=bounded,
    one_state=True,
    kept=True,
    array_bytes=array_bytes,
    ready=always_ready,
    run=run,
    check_reply=check_reply,
)
