"""What this site allows, as pure functions: each returns quietly or raises ``Refused``.

The sentences cross the border: they speak of the plan, the task and the site's limits only.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from fl_client.ledger import Entry, same_study
from fl_client.settings import Policy
from infomri_core.errors import InputError, Refused
from infomri_core.exchange import (
    AdaptTask,
    EnrolTask,
    MomentsTask,
    ReleaseTask,
    SiteTask,
    TrainTask,
)
from infomri_core.exchange.secure import SECURE_JOBS, SecureTask
from infomri_core.plan import Plan
from infomri_core.privacy.adversaries import DIAGNOSES, LINKAGE
from infomri_core.privacy.attacks import FLOORS
from infomri_core.privacy.reader import READER
from infomri_core.privacy.strengths import insider_attack
from infomri_core.wire import Arrays

_HEX = frozenset("0123456789abcdef")
MAX_GROUPS = 64


def parse_approvals(text: str, where: str) -> frozenset[str]:
    """The sha256 of approved plans: one a line, as ``sha256sum plan.toml`` writes them.

    What follows the digest on a line is free text (the file, who approved it, when); '#' begins a
    comment. Raises ``InputError`` on any other line: an approval that nobody reads is worse.
    """
    digests = set()
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words[0]) != 64 or not set(words[0]) <= _HEX:
            remedy = "write it with 'infomri-client plan approve'"
            raise InputError(f"{where} line {number}", "a sha256", repr(words[0][:80]), remedy)
        digests.add(words[0])
    return frozenset(digests)


def check_approved(plan: Plan, policy: Policy, approved: frozenset[str]) -> None:
    """Only plans in ``approved``, by the sha256 of their text, where the site wants a list."""
    if policy.approvals == "listed" and plan.digest not in approved:
        raise Refused("not-approved", f"plan {plan.digest[:12]} is not approved at this site")


def check_limits(plan: Plan, job: str, policy: Policy) -> None:
    """The site's hard limits, whatever the plan says."""
    if ("train" if job in SECURE_JOBS else job) not in policy.jobs:
        raise Refused("policy", f"this site does not run '{job}'")
    if plan.privacy is not None and plan.privacy.rate > policy.max_rate:
        sentence = (
            f"the plan's sampling rate is {plan.privacy.rate:g}, this site allows at most "
            f"{policy.max_rate:g}"
        )
        raise Refused("policy", sentence)
    for what, value, limit in (
        ("rounds", plan.training.rounds, policy.max_rounds),
        ("local steps", plan.training.local_steps, policy.max_local_steps),
        ("adversary steps", plan.evaluation.adversary_steps, policy.max_local_steps),
        ("arms", len(plan.arms), policy.max_arms),
        ("network width", plan.model.width, policy.max_width),
    ):
        if value > limit:
            raise Refused("policy", f"the plan asks for {value} {what}, this site allows {limit}")


def check_task(task: SiteTask, plan: Plan, sizes: Mapping[str, int]) -> None:
    """The task is one the plan can have: round, arms, lengths and values.

    ``sizes``: the length of each arm's flat array. Scores leave after the last round only.
    """
    if isinstance(task, EnrolTask):
        return
    if isinstance(task, MomentsTask):
        _check_moments(task, plan)
        return
    if isinstance(task, AdaptTask):
        _check_adapt(task, plan, sizes)
        return
    rounds = plan.training.rounds
    if not 1 <= task.round <= rounds:
        raise Refused("bad-task", f"the plan has rounds 1 to {rounds}, not {task.round}")
    if isinstance(task, ReleaseTask):
        _check_release(task, plan, sizes)
        return
    _check_masking(task, plan)
    if isinstance(task, SecureTask):
        return
    _check_arms(task.arms, sizes)
    if isinstance(task, TrainTask):
        _check_variance(task.variance, plan.task.shape)
        return
    if task.round != rounds:
        raise Refused("bad-task", "scores leave this site after the last round only")
    _check_attacks(task.attacks, plan)


def check_cohort(n_patients: int, policy: Policy) -> None:
    """Nothing that was computed from fewer patients than the site's minimum cohort leaves."""
    if n_patients < policy.min_cohort:
        raise Refused("cohort", "too few patients stand behind this job at this site")


def check_inputs(entries: Iterable[Entry], departure: Entry, limit: int) -> None:
    """At most ``limit`` different inputs for one study, job and round, ever, where the same
    weights on other data are another input. A study is its name, whatever else its plan says. The
    preparations of secure aggregation ask nothing of any patient and are not counted.

    Scoring answers questions about patients: a study's is answered on one state of the data only,
    as two answers, before and after a patient came, would tell of that patient.
    """
    asked = [
        e
        for e in entries
        if e.kind != "error" and e.job == departure.job and same_study(e, departure)
    ]
    if departure.job == "evaluate" and any(e.data not in ("", departure.data) for e in asked):
        raise Refused(
            "data-changed",
            "this site's data have changed since it scored this study, and two scorings would "
            "tell of the patients who came or left; a plan of another study name starts anew",
        )
    seen = {(e.input, e.data) for e in asked if e.round == departure.round}
    counted = departure.job not in SECURE_JOBS
    if counted and (departure.input, departure.data) not in seen and len(seen) >= limit:
        raise Refused(
            "asked-often",
            f"this site answered '{departure.job}' of round {departure.round} of this study "
            f"{len(seen)} times already; a plan of another study name starts anew",
        )


def _check_arms(arms: Arrays, sizes: Mapping[str, int]) -> None:
    if not arms:
        raise Refused("bad-task", "the task has no arms")
    for name, flat in arms.items():
        if name not in sizes:
            raise Refused("bad-task", "the task has an arm that the plan has not")
        if flat.dtype != np.float32 or flat.shape != (sizes[name],):
            raise Refused(
                "bad-task",
                f"arm {name} must be {sizes[name]} float32 values, not {flat.dtype} {flat.shape}",
            )
        if not np.isfinite(flat).all():
            raise Refused("bad-task", f"the weights of arm {name} are not finite")


def _check_adapt(task: AdaptTask, plan: Plan, sizes: Mapping[str, int]) -> None:
    if insider_attack(plan) is None:
        raise Refused("bad-task", "the task trains an attack, the plan has no insider")
    rounds, limit = plan.evaluation.insider_rounds, MAX_GROUPS
    if not (1 <= task.round <= rounds and 1 <= len(task.networks) <= limit):
        sentence = f"insiders train in rounds 1 to {rounds}, for 1 to {limit} groups"
        raise Refused("bad-task", sentence)
    _check_arms(task.arms, sizes)
    for arrays in (task.start, *task.networks.values()):
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise Refused("bad-task", "the weights of the attack are not finite")


def _check_masking(task: SiteTask, plan: Plan) -> None:
    """Masks where the plan has secure aggregation, and there only."""
    if not isinstance(task, SecureTask | TrainTask):
        return
    masked = not isinstance(task, TrainTask) or task.masking is not None
    if masked != plan.aggregation.secure:
        how = "masked only" if plan.aggregation.secure else "without masks"
        raise Refused("bad-task", f"by the plan, updates leave this site {how}")


def _check_release(task: ReleaseTask, plan: Plan, sizes: Mapping[str, int]) -> None:
    chosen = plan.release
    if chosen is None or (task.arm, task.acceleration) != (chosen.arm, chosen.acceleration):
        raise Refused("bad-task", "the task asks for a release that the plan does not choose")
    if task.round != plan.training.rounds:
        raise Refused("bad-task", "k-space is released after the last round only")
    _check_arms({task.arm: task.weights}, sizes)


def _check_moments(task: MomentsTask, plan: Plan) -> None:
    if plan.moments is None:
        raise Refused("bad-task", "the task asks for moments, the plan has no [moments]")
    mean, form = task.mean, (2, *plan.task.shape)
    if mean.shape != form or mean.dtype != np.float32 or not np.isfinite(mean).all():
        raise Refused("bad-task", f"the mean must be finite float32 of {form}")


def _check_variance(variance: np.ndarray, shape: tuple[int, int]) -> None:
    if variance.shape != (2, *shape) or variance.dtype not in (np.float32, np.float64):
        raise Refused("bad-task", f"the variance must be float32 or float64 of {(2, *shape)}")
    if not (np.isfinite(variance).all() and (variance >= 0).all()):
        raise Refused("bad-task", "the variance must be finite and not negative")


def _check_attacks(attacks: Mapping[str, Arrays], plan: Plan) -> None:
    known = {*plan.evaluation.attacks, *FLOORS, *DIAGNOSES, LINKAGE, READER, insider_attack(plan)}
    if not set(attacks) <= known:
        raise Refused("bad-task", "the task has an attack that the plan has not")
    for name, arrays in attacks.items():
        for array in arrays.values():
            if not np.isfinite(array).all():
                raise Refused("bad-task", f"the weights of attack {name} are not finite")
