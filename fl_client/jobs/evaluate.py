"""``evaluate``: scores of arms and attacks over the validation patients, after the last round."""

import dataclasses
from collections.abc import Callable, Collection
from functools import partial

import numpy as np

from fl_client.gate import budget
from fl_client.gate.checks.floors import check_floors
from fl_client.gate.checks.noised import digest_of, noised_scores
from fl_client.gate.checks.scores import checked_scores
from fl_client.gate.context import Checked, Context, Rules, refusal
from fl_client.gate.gate import bare_mark
from fl_client.jobs.declaration import Job, Premises
from fl_client.jobs.forms import check_arms, check_last_round, check_masking
from fl_client.policy.cost import Cost
from infomri_core.attacks.registry import FLOORS
from infomri_core.audit.adversaries import DIAGNOSES, LINKAGE
from infomri_core.audit.full_image_classifier import READER
from infomri_core.data.base import SliceTable
from infomri_core.messages import EvaluateReply, EvaluateTask, MaskedReply, SiteReply, wire
from infomri_core.plan.adversary_knowledge import insider_attack, same_site_attacks
from infomri_core.plan.alone import alone_arms
from infomri_core.plan.evaluation_rules import masks_scores
from infomri_core.plan.plan import Plan
from infomri_core.score_noise.bounded_scores import check_middles
from infomri_core.score_noise.mechanism import evaluation_mechanism, form_of, n_numbers
from infomri_core.score_noise.ring import ring_size
from infomri_core.summaries.groups import SLOTS
from infomri_core.summaries.linkage_summary import FIGURES, KINDS
from infomri_core.summaries.metrics import METRICS
from infomri_core.summaries.summary import n_numbers as n_summed
from infomri_core.system.errors import Refused


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
    check_floors(task.attacks, plan)
    _check_middles(task, plan)
    check_masking(plan, masked=task.masking is not None, wanted=masks_scores(plan))
    context = _grouped(context, premises)
    if task.masking is None:
        return context
    return dataclasses.replace(context, mask=partial(premises.sessions.mask, plan, task))


def _grouped(context: Context, premises: Premises) -> Context:
    """The context with the scored slices, their patients' groups and this question's noise."""
    plan, asked = context.plan, context.ledger_entry
    return dataclasses.replace(
        context,
        scored=premises.table.take(premises.site.scored(plan)),
        slots=premises.site.groups(plan),
        noise=partial(premises.site.noise, asked.run, asked.input, asked.data),
    )


def _check_middles(task: EvaluateTask, plan: Plan) -> None:
    """Reference and expected PSNRs where the plan has noise, and there only."""
    if plan.evaluation.noise:
        check_middles(form_of(plan, task.arms, task.attacks), task)
    elif task.reference.size or task.expected.size:
        raise Refused("bad-task", "the task has a reference, the plan's scores have no noise")


def rows(plan: Plan, premises: Premises) -> tuple[np.ndarray, ...]:
    """The scored slices and, for attacks and arms trained at this very site alone, those they are
    trained on."""
    scored = premises.site.scored(plan)
    trained = same_site_attacks(plan) or alone_arms(plan)
    return (scored, premises.trained()) if trained else (scored,)


def cost(plan: Plan, task: EvaluateTask, table: SliceTable) -> Cost:
    """The mechanism of the scores' own noise, once a study, or exact sums over groups."""
    drawn = _figures(plan, task.arms, {*task.attacks, *same_site_attacks(plan)})
    return Cost(evaluation_mechanism(plan), inputs=1, figures=drawn, once=plan.evaluation.noise)


def figures(plan: Plan) -> int:
    """All arms and attacks, scored once."""
    attacks = {*_attacks(plan), *same_site_attacks(plan), LINKAGE, READER}
    return _figures(plan, [arm.name for arm in plan.arms], attacks)


def bounded(plan: Plan) -> bool:
    """Scores are of other patients than were trained on, but for attacks trained here. Those of
    arms that were trained here alone follow from training, which DP-SGD may have bounded."""
    return not same_site_attacks(plan) and (plan.privacy is not None or not alone_arms(plan))


def array_bytes(plan: Plan, premises: Premises) -> None:
    """An attack may have any of the sizes that its architecture takes: the site's limit."""
    return


def ready(context: Context, premises: Premises) -> None:
    """The slot of the masks is prepared and unused."""
    assert isinstance(context.task, EvaluateTask)
    if context.task.masking is not None:
        masking, asked = context.task.masking, context.ledger_entry
        premises.sessions.check(context.plan, masking, asked, premises.entries())


def run(context: Context, premises: Premises, cancelled: Callable[[], bool]) -> SiteReply:
    """Score."""
    return premises.site.run(context.plan, context.task, cancelled)


def check_reply(reply: SiteReply, context: Context, rules: Rules) -> Checked:
    """Under the plan's noise, or coarse sums; with what the study has spent in training, and
    under the task's masks. The site's noise is all its own: it holds against the other sites and
    the study centre together."""
    task, plan = context.task, context.plan
    if not isinstance(reply, EvaluateReply) or not isinstance(task, EvaluateTask):
        raise refusal("a reply that is not the task's")
    checked = noised_scores if plan.evaluation.noise else checked_scores
    scores = checked(reply, context, task, rules.policy)
    spent = budget.reported_epsilon(plan, rules.entries)
    noted = {}
    if context.noise is not None and plan.evaluation.noise:
        noted["note"] = f"noise {context.noise('name', digest_of(reply)).bytes(8).hex()}"
    told = dataclasses.replace(scores, epsilon=spent)
    if not masks_scores(plan):
        return Checked(told, noted)
    if context.mask is None:
        raise refusal("scores without masks")
    if context.keep is not None:
        bare = wire.encode(told.to_message())
        context.keep(bare)
        noted["note"] = f"{noted.get('note', '')} {bare_mark(bare)}".strip()
    return Checked(_checked_masked(context.mask(told), plan, task), noted)


def _checked_masked(reply: MaskedReply, plan: Plan, task: EvaluateTask) -> MaskedReply:
    """The masked sums, of the length that the task gives. ``Refused("gate")`` otherwise."""
    size = ring_size(form_of(plan, task.arms, task.attacks), task.attacks)
    if reply.vector.dtype != np.uint64 or reply.vector.shape != (size,):
        raise refusal("masked sums of another form")
    return reply


def _attacks(plan: Plan) -> set[str]:
    """All that can be scored by name, but for those that the site trains itself."""
    insider = insider_attack(plan)
    return {*plan.evaluation.attacks, *FLOORS, *DIAGNOSES, *([insider] if insider else [])}


def _figures(plan: Plan, arms: Collection[str], attacks: Collection[str]) -> int:
    """Numbers in the summaries of ``arms`` and ``attacks``: those of the vector under noise, or of
    every group of patients. Whether an attack broke down is one figure too."""
    rebuilt = set(attacks) - {LINKAGE, READER}
    if plan.evaluation.noise:
        return n_numbers(form_of(plan, arms, attacks)) + len(rebuilt) + 1
    summary = n_summed(plan.task.summary_shapes())
    cell = summary + len(rebuilt) * (len(METRICS) + 1)
    if LINKAGE in attacks:
        cell += len(KINDS) * (len(FIGURES) + 2)
    if READER in attacks:
        cell += (len(rebuilt - {*FLOORS, *DIAGNOSES}) + 1) * summary
    at_one = len(arms) * cell + len(alone_arms(plan, arms)) * summary
    return SLOTS * len(plan.measurement.accelerations) * at_one + len(rebuilt) + 1


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
    ready=ready,
    run=run,
    check_reply=check_reply,
)
