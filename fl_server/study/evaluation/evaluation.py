"""After the last round: fit the attackers, let the sites score arms and attacks, write results."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fl_server.audit.adversaries import FittedAudit, fit_audit
from fl_server.audit.examples import Examples, examples_for
from fl_server.report.publish import Published
from fl_server.run.submission import operators_of
from fl_server.sites.base import in_process
from fl_server.study.context import Setting, State
from fl_server.study.enrolment import deadline
from fl_server.study.epsilon import study_epsilon, tell_epsilons
from fl_server.study.evaluation.differences import differences
from fl_server.study.evaluation.held_out import score_held_out
from fl_server.study.evaluation.insiders import train_insiders
from fl_server.study.evaluation.meta import study_meta
from fl_server.study.evaluation.noised_rows import NoiseTask
from fl_server.study.evaluation.results import MergedScores, build_rows
from fl_server.study.failure import StudyFailed
from fl_server.study.release import collect_release
from fl_server.study.secure.scores import gather_scores
from fl_server.tracking.tracker import Tracker
from infomri_core.attacks.adversaries import LINKAGE
from infomri_core.attacks.full_image_classifier import READER
from infomri_core.messages import EvaluateReply, EvaluateTask, SiteReply
from infomri_core.messages.wire import Arrays
from infomri_core.plan.adversary_knowledge import insider_attack
from infomri_core.plan.evaluation_rules import masks_scores
from infomri_core.plan.plan import Plan
from infomri_core.results.frontier import Row, to_json
from infomri_core.score_noise.mechanism import form_of


def conclude(setting: Setting, state: State) -> list[Row]:
    """The rows of ``results.json``, written with all that belongs to them. Raises ``StudyFailed``
    when no site could be scored."""
    plan, progress = setting.plan, setting.progress
    progress.tell(
        "audit",
        "fitting the attackers on the study centre's audit set",
        steps=len(plan.evaluation.attacks),
    )
    started = time.monotonic()
    fitted = fit_audit(
        plan,
        setting.centre.audit,
        setting.audit_set,
        state.arms,
        setting.device,
        lambda sentence: progress.tell("attack", sentence),
    )
    fitted_at = time.monotonic()
    merged = _score(setting, state, fitted)
    seconds = {"audit": fitted_at - started, "evaluate": time.monotonic() - fitted_at}
    rows = _results(setting, state, fitted, merged, seconds)
    progress.tell("results", f"{len(rows)} rows", rows=[to_json(row) for row in rows])
    done = f"results in {setting.directory / 'results.json'}"
    progress.tell("finished", done, phase=setting.n_phases, phases=setting.n_phases)
    return rows


def _score(setting: Setting, state: State, fitted: FittedAudit) -> MergedScores:
    plan, roster, progress = setting.plan, setting.roster, setting.progress
    phase = plan.training.rounds + 1
    nodes = roster.participants(state.round)
    insiders = train_insiders(setting, state, fitted, nodes)
    progress.tell(
        "evaluate", "sites score the arms and the attacks", phase=phase, phases=setting.n_phases
    )
    attackers = fitted.adversaries.to_arrays()
    if plan.evaluation.noise and not in_process(setting.sites):
        attackers = {n: a for n, a in attackers.items() if n not in (LINKAGE, READER)}
    noise = _noise_task(setting, state, fitted, insiders)
    task = EvaluateTask(plan.text, state.round, deadline(plan), state.arms, attackers)
    if noise is not None:
        known, form = noise.held_out, noise.form
        task = replace(task, edges=known.edges(form), expected=known.expected(form))
    merged = MergedScores(plan, noise=noise)
    if noise is not None and masks_scores(plan):
        merged.add_sum(*gather_scores(setting, state, task, noise.form))
        return merged
    for node, reply in _asked(setting, task, insiders):
        if not isinstance(reply, EvaluateReply):
            roster.tell_refusal(node, reply, state.round)
            continue
        tell_epsilons(state.history, {roster.name(node): reply.epsilon})
        if not merged.add(roster.name(node), reply):
            sentence = f"scores of {roster.name(node)} not used: not of this plan's form"
            progress.tell("refused", sentence)
    if not merged.sites:
        raise StudyFailed("no site could be scored; see the refusals above")
    return merged


def _noise_task(
    setting: Setting, state: State, fitted: FittedAudit, insiders: Mapping[str, Arrays]
) -> NoiseTask | None:
    """What sites are asked under noise, whose linkage and readers stay here; None without it, and
    where the sites are in this process and nothing leaves them."""
    plan = setting.plan
    if not plan.evaluation.noise or in_process(setting.sites):
        return None
    setting.progress.tell("attack", "scoring the study centre's own held-out patients")
    held_out = score_held_out(plan, fitted, setting.audit_set, state.arms, setting.device)
    insider = insider_attack(plan)
    names = {*fitted.adversaries.to_arrays(), *([insider] if insiders and insider else [])}
    return NoiseTask(plan, form_of(plan, state.arms, names), held_out)


def _asked(
    setting: Setting, task: EvaluateTask, insiders: Mapping[str, Arrays]
) -> Iterator[tuple[str, SiteReply]]:
    """Ask every site, each with the attack that the others trained for it, if there is one."""
    nodes, name = setting.roster.participants(task.round), insider_attack(setting.plan)
    if name is None or not insiders:
        return setting.sites.ask(task, nodes)
    return setting.sites.ask_each(
        {
            node: replace(task, attacks={**task.attacks, name: insiders[node]})
            if node in insiders
            else task
            for node in nodes
        }
    )


def _results(
    setting: Setting,
    state: State,
    fitted: FittedAudit,
    merged: MergedScores,
    seconds: dict[str, float],
) -> list[Row]:
    plan = setting.plan
    n_train = state.history["rounds"][-1]["n_train"]
    epsilon = study_epsilon(state.history)
    rows = build_rows(plan, merged, fitted, n_train, state.round)
    rows = [replace(row, epsilon=epsilon) for row in rows]
    meta = study_meta(plan, fitted, merged, state.dropped, state.history, seconds)
    meta["differences"] = differences(plan, merged, rows)
    meta["audit_data"] = setting.centre.audit.data
    meta["submitted_by"] = operators_of(setting.directory)
    meta["released"] = collect_release(
        plan, state.arms, setting.sites, setting.roster, setting.directory, setting.progress
    )
    shown = examples_for(plan, rows, state.arms, fitted, setting.audit_set, setting.device)
    setting.guard()
    record(setting.directory, plan, rows, meta, setting.tracker, shown)
    return rows


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
