"""Is an update what was asked for? A site is not trusted to keep the form of its replies."""

import math
from collections.abc import Iterable, Sequence
from typing import Protocol

from fl_server.study.context import StudyContext
from fl_server.study.epsilon import check_epsilon
from infomri_core.messages import MaskedReply, TrainReply
from infomri_core.messages.wire import Arrays
from infomri_core.plan.plan import Plan
from infomri_core.system.errors import InputError


def check_update(plan: Plan, reply: TrainReply, arms: Iterable[str]) -> None:
    """``InputError`` unless ``reply`` has weights for each of the ``arms`` asked for, or drops it,
    names no others, and its epsilon and losses are those of the plan."""
    asked, named = sorted(arms), sorted([*reply.arms, *reply.dropped])
    if named != asked:
        raise InputError("reply", f"arms {asked}", str(named), "update that site")
    check_epsilon(plan, reply)
    check_lost_state(plan, reply, asked)
    asked_terms = sorted(plan.task.reported_terms)
    for name, terms in reply.losses.items():
        finite = all(math.isfinite(value) for value in terms.values())
        if name not in reply.arms or sorted(terms) != asked_terms or not finite:
            expected = f"finite {' and '.join(asked_terms)} of the arms trained"
            raise InputError("reply: losses", expected, f"{name}: {terms}", "update that site")


def weights_of(plan: Plan, reply: TrainReply, arms: Arrays) -> Arrays:
    """The weights in ``reply``, which where the plan has updates rounded are those of the round,
    ``arms``, and the reply's updates. ``InputError`` for another precision or form."""
    precision = plan.aggregation.precision
    if reply.precision != precision:
        raise InputError("reply: precision", precision, reply.precision, "update that site")
    if precision == "float32":
        return reply.arms
    for name, update in reply.arms.items():
        if update.shape != arms[name].shape:
            expected, got = f"shape {arms[name].shape}", f"shape {update.shape}"
            raise InputError("reply: update", expected, got, "update that site")
    return {name: arms[name] + update for name, update in reply.arms.items()}


class Telling(Protocol):
    """The answers of a round, which say what state was lost where."""

    number: int
    lost_state: dict[str, list[str]]


def report_lost_state(
    context: StudyContext, answers: Telling, site: str, arms: Sequence[str]
) -> None:
    """Note, tell and mark the arms that went on at ``site`` with a fresh optimizer."""
    if not arms:
        return
    answers.lost_state[site] = sorted(arms)
    why = f"{site} had lost its optimizer state before round {answers.number}"
    for arm in answers.lost_state[site]:
        context.tracker.lost_state(arm, why)
    sentence = f"{why}, and continued with a fresh one: {', '.join(answers.lost_state[site])}"
    context.progress.report("lost-state", sentence)


def check_lost_state(plan: Plan, reply: TrainReply | MaskedReply, arms: Iterable[str]) -> None:
    """``InputError`` for an update made with a fresh optimizer where the plan wants none, or of
    arms that were not asked for."""
    lost = reply.lost_state
    if lost and (plan.training.lost_state != "continue" or not set(lost) <= set(arms)):
        raise InputError("reply: lost_state", "none", ", ".join(lost), "update that site")
