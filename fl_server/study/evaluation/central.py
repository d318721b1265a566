"""What the arms come to that sites train alone, trained on all sites' data in one place.

That can be had where the study centre has the data: in a demo, a simulation, of public archives.
``[central] data`` in centre.toml names them. It takes as many samples as all sites together.
The model is in the study centre's hands, and so it is attacked, by the attacks that were fitted
for the federated arms: closed forms are as strong on its masks, networks saw others.
"""

import math
from dataclasses import replace

import torch

from fl_server.audit.adversaries import FittedAudit
from fl_server.study.context import State, StudyContext
from fl_server.study.evaluation.results import exact_figures, passed
from infomri_core.arms.build import build_model
from infomri_core.arms.weights import flatten
from infomri_core.data import open_dataset
from infomri_core.data.pool import pool
from infomri_core.messages import EvaluateTask, TrainTask
from infomri_core.plan.alone import alone_arms, without_alone
from infomri_core.plan.plan import Arm, Plan
from infomri_core.results.arm_names import central_name
from infomri_core.results.frontier import CENTRAL, Row
from infomri_core.site.site import Site
from infomri_core.system.errors import Refused


def central_rows(context: StudyContext, state: State, fitted: FittedAudit) -> list[Row]:
    """A row an arm and acceleration, scored and attacked on the validation patients of all sites,
    exactly: they are here. None where the study centre has no site's data."""
    uris = context.centre.central.data
    arms = [arm for arm in alone_arms(context.plan) if arm.name in state.arms]
    if not uris or not arms:
        return []
    context.progress.report("central", f"training {len(arms)} of the arms on pooled data")
    pooled = pool([open_dataset(uri) for uri in uris])
    site = Site(pooled, "pooled", context.directory / "central", str(context.device))
    try:
        return [row for arm in arms for row in _rows(context, state, fitted, site, arm)]
    except Refused as refused:
        context.progress.report("refused", f"nothing was trained on pooled data: {refused}")
        return []


def of_one_place(plan: Plan, arm: Arm, n_sites: int) -> Plan:
    """One arm of the plan in one round, with the optimizer steps of ``n_sites`` sites, and no
    attacker but those of the study centre."""
    n_steps, plan = plan.total_steps * n_sites, without_alone(plan)
    return replace(
        plan,
        arms=(replace(arm, alone=False),),
        training=replace(plan.training, rounds=1, local_steps=n_steps, quorum=1),
        aggregation=replace(plan.aggregation, strategy="fedavg", secure=False),
        evaluation=replace(plan.evaluation, noise=False, adversaries=("public",)),
    )


def _rows(
    context: StudyContext, state: State, fitted: FittedAudit, site: Site, arm: Arm
) -> list[Row]:
    n_sites = len(context.centre.central.data)
    plan, text, name = of_one_place(context.plan, arm, n_sites), context.plan.text, arm.name
    start = {name: flatten(build_model(plan, arm, torch.from_numpy(state.variance)))}
    task = TrainTask(text, 1, math.inf, state.variance, start, None, state.factors)
    reply = site.train(plan, task, lambda: False)
    if name not in reply.arms:
        context.progress.report("diverged", f"arm {name} diverged on pooled data")
        return []
    # What the federated model's answers give away is not what this one's do.
    attackers = replace(fitted.adversaries, diagnosis={}).to_arrays()
    asked = EvaluateTask(text, 1, math.inf, reply.arms, attackers)
    scored = site.evaluate(plan, asked, lambda: False)
    found = {a: exact_figures(plan, scores) for (_, a), scores in scored.scores.items()}
    return [
        Row(
            arm=central_name(name),
            training=CENTRAL,
            task=plan.task.kind,
            sampler=arm.sampler,
            suppression=arm.suppression,
            beta=arm.beta,
            psnr_target=arm.psnr_target,
            seed=arm.seed,
            acceleration=acceleration,
            n_train=reply.n_samples,
            n_patients=scored.n_patients,
            rounds=state.round,
            certified=tuple(n for n in figures["psnr"] if passed(fitted, n)),
            n_audit=fitted.n_images,
            **figures,
        )
        for acceleration, figures in found.items()
    ]
