"""After the last round: fit the attackers, let the sites score arms and attacks, write results."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fl_server.audit.adversaries import FittedAudit, fit_audit
from fl_server.audit.examples import Examples, examples_for
from fl_server.audit.mask_linkage import link_by_mask
from fl_server.report.publish import Published
from fl_server.run.submission import operators_of
from fl_server.sites.base import in_process
from fl_server.study.completed import report_results
from fl_server.study.context import State, StudyContext
from fl_server.study.enrolment import deadline
from fl_server.study.epsilon import report_epsilons, study_epsilon
from fl_server.study.evaluation.central import central_rows
from fl_server.study.evaluation.differences import differences
from fl_server.study.evaluation.held_out import score_held_out
from fl_server.study.evaluation.insiders import train_insiders
from fl_server.study.evaluation.measuring_less import measuring_less
from fl_server.study.evaluation.meta import study_meta
from fl_server.study.evaluation.noised_rows import NoiseTask
from fl_server.study.evaluation.own_patients import META as OWN_PATIENTS
from fl_server.study.evaluation.own_patients import inspect_arms
from fl_server.study.evaluation.results import MergedScores, build_rows
from fl_server.study.failure import StudyFailed
from fl_server.study.release import collect_release
from fl_server.study.secure.scores import gather_scores
from fl_server.tracking.study_page import study_page
from fl_server.tracking.tracker import Tracker
from infomri_core.audit.adversaries import LINKAGE
from infomri_core.audit.full_image_classifier import READER
from infomri_core.messages import EvaluateReply, EvaluateTask, SiteReply
from infomri_core.messages.wire import Arrays
from infomri_core.plan.adversary_knowledge import insider_attack
from infomri_core.plan.evaluation_rules import masks_scores
from infomri_core.plan.plan import Plan
from infomri_core.report.mask_linkage import META as MASK_LINKAGE
from infomri_core.results.frontier import Row
from infomri_core.results.measuring_less import META as MEASURING_LESS
from infomri_core.score_noise.mechanism import form_of


def evaluate_study(context: StudyContext, state: State) -> list[Row]:
    """The rows of ``results.json``, written with all that belongs to them. Raises ``StudyFailed``
    when no site could be scored."""
    plan, progress = context.plan, context.progress
    progress.report(
        "audit",
        "fitting the attackers on the study centre's audit set",
        steps=len(plan.evaluation.attacks),
    )
    started = time.monotonic()
    fitted = fit_audit(
        plan,
        context.centre.audit,
        context.audit_set,
        state.arms,
        context.device,
        lambda sentence: progress.report("attack", sentence),
    )
    fitted_at = time.monotonic()
    merged = _score(context, state, fitted)
    seconds = {"audit": fitted_at - started, "evaluate": time.monotonic() - fitted_at}
    rows, meta = _results(context, state, fitted, merged, seconds)
    report_results(progress, rows, meta)
    done = f"results in {context.directory / 'results.json'}"
    progress.report("finished", done, phase=context.n_phases, phases=context.n_phases)
    return rows


def _score(context: StudyContext, state: State, fitted: FittedAudit) -> MergedScores:
    plan, roster, progress = context.plan, context.roster, context.progress
    phase = plan.training.rounds + 1
    nodes = roster.participants(state.round)
    insiders = train_insiders(context, state, fitted, nodes)
    progress.report(
        "evaluate", "sites score the arms and the attacks", phase=phase, phases=context.n_phases
    )
    attackers = fitted.adversaries.to_arrays()
    if plan.evaluation.noise and not in_process(context.sites):
        attackers = {n: a for n, a in attackers.items() if n not in (LINKAGE, READER)}
    noise = _noise_task(context, state, fitted, insiders)
    task = EvaluateTask(plan.text, state.round, deadline(plan), state.arms, attackers)
    if noise is not None:
        known, form = noise.held_out, noise.form
        task = replace(task, reference=known.reference(form), expected=known.expected(form))
    merged = MergedScores(plan, noise=noise)
    if noise is not None and masks_scores(plan):
        merged.add_sum(*gather_scores(context, state, task, noise.form))
        return merged
    for node, reply in _asked(context, task, insiders):
        if not isinstance(reply, EvaluateReply):
            roster.report_refusal(node, reply, state.round)
            continue
        report_epsilons(state.history, {roster.name(node): reply.epsilon})
        if not merged.add(roster.name(node), reply):
            sentence = f"scores of {roster.name(node)} not used: not of this plan's form"
            progress.report("refused", sentence)
    if not merged.sites:
        raise StudyFailed("no site could be scored; see the refusals above")
    return merged


def _noise_task(
    context: StudyContext, state: State, fitted: FittedAudit, insiders: Mapping[str, Arrays]
) -> NoiseTask | None:
    """What sites are asked under noise, whose linkage and readers stay here; None without it, and
    where the sites are in this process and nothing leaves them."""
    plan = context.plan
    if not plan.evaluation.noise or in_process(context.sites):
        return None
    context.progress.report("attack", "scoring the study centre's own held-out patients")
    held_out = score_held_out(plan, fitted, context.audit_set, state.arms, context.device)
    insider = insider_attack(plan)
    names = {*fitted.adversaries.to_arrays(), *([insider] if insiders and insider else [])}
    return NoiseTask(plan, form_of(plan, state.arms, names), held_out)


def _asked(
    context: StudyContext, task: EvaluateTask, insiders: Mapping[str, Arrays]
) -> Iterator[tuple[str, SiteReply]]:
    """Ask every site, each with the attack that the others trained for it, if there is one."""
    nodes, name = context.roster.participants(task.round), insider_attack(context.plan)
    if name is None or not insiders:
        return context.sites.ask(task, nodes)
    return context.sites.ask_each(
        {
            node: replace(task, attacks={**task.attacks, name: insiders[node]})
            if node in insiders
            else task
            for node in nodes
        }
    )


def _results(
    context: StudyContext,
    state: State,
    fitted: FittedAudit,
    merged: MergedScores,
    seconds: dict[str, float],
) -> tuple[list[Row], dict[str, Any]]:
    plan = context.plan
    n_train = state.history["rounds"][-1]["n_train"]
    epsilon = study_epsilon(state.history)
    rows = build_rows(plan, merged, fitted, n_train, state.round)
    rows = [replace(row, epsilon=epsilon) for row in rows] + central_rows(context, state, fitted)
    meta = study_meta(plan, fitted, merged, state.dropped, state.history, seconds)
    meta["differences"] = differences(plan, merged, rows)
    meta[MEASURING_LESS] = measuring_less(plan.task, merged, rows)
    meta[OWN_PATIENTS] = inspect_arms(plan, context.audit_set, state.arms, context.device)
    meta[MASK_LINKAGE] = link_by_mask(plan, context.audit_set, state.arms, context.device)
    for entry in meta[OWN_PATIENTS]:
        for concern in entry["concerns"]:
            sentence = f"arm {entry['arm']} at {entry['acceleration']:g}x: {concern}"
            context.progress.report("concern", sentence)
    meta["audit_data"] = context.centre.audit.data
    meta["submitted_by"] = operators_of(context.directory)
    meta["released"] = collect_release(
        plan, state.arms, context.sites, context.roster, context.directory, context.progress
    )
    shown = examples_for(plan, rows, state.arms, fitted, context.audit_set, context.device)
    context.guard()
    record(context.directory, plan, rows, meta, context.tracker, shown)
    return rows, meta


def record(
    directory: Path,
    plan: Plan,
    rows: list[Row],
    meta: dict[str, Any],
    tracker: Tracker,
    shown: Examples | None = None,
) -> None:
    """Write results, figures, privacy report and ``plan.toml``; log all of it."""
    plan_file = directory / "plan.toml"
    written = Published(directory).write(rows, meta, shown)
    plan_file.write_text(plan.text, encoding="utf-8")
    tracker.result(rows)
    tracker.phases(len(meta["rounds"]), meta["phase_seconds"])
    for path in (*written, plan_file):
        tracker.artifact(path)
    tracker.describe(study_page(plan, rows, meta))
