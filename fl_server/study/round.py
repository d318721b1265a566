"""One round of training: ask the sites, add their weights as they arrive, step, report."""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, final

import numpy as np

from fl_server.aggregation.strategy import Aggregate, aggregate, step
from fl_server.study.context import State, StudyContext
from fl_server.study.enrolment import deadline
from fl_server.study.epsilon import report_epsilons, study_epsilon
from fl_server.study.failure import StudyFailed
from fl_server.study.reply_check import check_update, report_lost_state, weights_of
from fl_server.study.secure.round import gather_masked
from infomri_core.arms.build import buffers_of
from infomri_core.messages import TrainReply, TrainTask
from infomri_core.messages.wire import Arrays
from infomri_core.system.errors import InputError

ATTEMPTS = 3

Losses = dict[str, dict[str, float]]


def train_round(context: StudyContext, state: State) -> None:
    """Advance ``state`` by one round. Raises ``StudyFailed`` when the quorum of answers is missed
    ``ATTEMPTS`` times, or every arm has diverged; ``state`` is then as it was, but for what the
    sites have reported of their spending."""
    number, quorum = state.round + 1, context.plan.training.quorum
    gather = gather_masked if context.plan.aggregation.secure else _gather
    for _ in range(ATTEMPTS):
        started = time.monotonic()
        answers: Gathered = gather(context, state, number)
        report_epsilons(state.history, answers.epsilons)
        if len(answers.sites) >= quorum:
            _close(context, state, answers, time.monotonic() - started)
            return
    raise StudyFailed(
        f"round {number} was answered by fewer than {quorum} sites "
        f"{ATTEMPTS} times; fix the sites named above and resume"
    )


class Gathered(Protocol):
    """What a round gave, added up site by site or by the sites themselves. ``epsilons``: what
    each site, by name, as reported with its spending, whether its reply was used or not.
    ``lost_state``: by site, the arms that continued with a fresh optimizer."""

    number: int
    epsilons: dict[str, float | None]
    lost_state: dict[str, list[str]]

    @property
    def sites(self) -> Sequence[str]: ...

    @property
    def n_samples(self) -> int: ...

    def mean(self, name: str) -> np.ndarray: ...

    def losses(self) -> Mapping[str, Mapping[str, float]]: ...

    def dropped(self, quorum: int) -> dict[str, str]: ...


@final
@dataclass
class Answers:
    """What came back in a round: one running aggregate an arm, the replies without weights by
    site, and at which sites an arm diverged; the others as in :class:`Gathered`. ``begun``: the
    weights that the sites were sent."""

    number: int
    sums: dict[str, Aggregate]
    begun: Arrays
    replies: dict[str, TrainReply] = field(default_factory=dict)
    diverged: dict[str, list[str]] = field(default_factory=dict)
    epsilons: dict[str, float | None] = field(default_factory=dict)
    lost_state: dict[str, list[str]] = field(default_factory=dict)

    def add(self, context: StudyContext, node: str, reply: TrainReply) -> None:
        """Take a reply in, or tell why it is not used; never a part of it."""
        where = context.roster.name(node)
        self.epsilons[where] = reply.epsilon
        try:
            check_update(context.plan, reply, self.sums)
            weights = weights_of(context.plan, reply, self.begun)
            for name, flat in weights.items():
                self.sums[name].check(flat, reply.n_samples)
        except InputError as error:
            sentence = f"round {self.number}: reply of {where} not used: {error}"
            context.progress.report("refused", sentence)
            return
        for name, flat in weights.items():
            self.sums[name].add(flat, reply.n_samples)
        self.replies[where] = replace(reply, arms={})
        report_lost_state(context, self, where, reply.lost_state)
        for name in reply.dropped:
            self.diverged.setdefault(name, []).append(where)
            sentence = f"round {self.number}: arm {name} diverged at {where}"
            context.progress.report("diverged", sentence)

    @property
    def sites(self) -> Sequence[str]:
        """Sites whose replies are used, in ascending order."""
        return sorted(self.replies)

    @property
    def n_samples(self) -> int:
        """Samples behind the replies."""
        return sum(reply.n_samples for reply in self.replies.values())

    def mean(self, name: str) -> np.ndarray:
        """The aggregate of an arm's weights, float32 (n,)."""
        return self.sums[name].value()

    def losses(self) -> Losses:
        """Loss terms of each arm, averaged over the sites."""
        return mean_losses([self.replies[site] for site in self.sites], self.sums)

    def dropped(self, quorum: int) -> dict[str, str]:
        """Arms that fewer sites than ``quorum`` brought through the round, and why: so no single
        site can end an arm for all."""
        return {
            name: f"diverged at {', '.join(sorted(sites))}"
            for name, sites in sorted(self.diverged.items())
            if len(self.replies) - len(sites) < quorum
        }


def _gather(context: StudyContext, state: State, number: int) -> Answers:
    plan, roster = context.plan, context.roster
    nodes = roster.participants(number)
    sums = {name: aggregate(plan.aggregation, len(flat)) for name, flat in state.arms.items()}
    answers = Answers(number, sums, state.arms)
    given = (state.variance, state.arms, None, state.factors)
    task = TrainTask(plan.text, number, deadline(plan), *given)
    for node, reply in context.sites.ask(task, nodes):
        if isinstance(reply, TrainReply):
            answers.add(context, node, reply)
        else:
            roster.report_refusal(node, reply, number)
    return answers


def _close(context: StudyContext, state: State, answers: Gathered, seconds: float) -> None:
    dropped = answers.dropped(context.plan.training.quorum)
    plan = context.plan
    remaining = {k: v for k, v in state.arms.items() if k not in dropped}
    for name, why in dropped.items():
        context.progress.report("dropped", f"round {answers.number}: arm {name} dropped: {why}")
        context.tracker.dropped(name, why)
    if not remaining:
        raise StudyFailed("every arm diverged; lower the learning rate in the plan")
    state.dropped |= dropped
    state.server = {k: v for k, v in state.server.items() if k in remaining}
    state.arms = {}
    for name, flat in remaining.items():
        state.arms[name], state.server[name] = step(
            plan.aggregation,
            flat,
            answers.mean(name),
            state.server.get(name, {}),
            buffers_of(plan, plan.arm(name)) if plan.model.norm == "batch" else None,
        )
    state.round = answers.number
    _report(context, state, answers, seconds)


def _report(context: StudyContext, state: State, answers: Gathered, seconds: float) -> None:
    number, sites, epsilon = answers.number, list(answers.sites), study_epsilon(state.history)
    told, lost = answers.losses(), answers.lost_state
    losses = {name: dict(told[name]) for name in state.arms if name in told}
    state.history["rounds"].append(
        {
            "round": number,
            "sites": sites,
            "n_train": answers.n_samples,
            "masked": context.plan.aggregation.secure,
            "losses": losses,
            "epsilon": epsilon,
            "seconds": seconds,
            **({"lost_state": dict(sorted(lost.items()))} if lost else {}),
        }
    )
    shared = {"phase_seconds/train": seconds, "sites": float(len(sites))}
    if epsilon is not None:
        shared["epsilon"] = epsilon
    context.tracker.round(number, round_metrics(losses), shared)
    term = context.plan.task.loss_terms[0]
    loss = ", ".join(f"{name} {terms[term]:.3f}" for name, terms in losses.items())
    context.progress.report(
        "round",
        f"round {number}/{context.plan.training.rounds}: {len(sites)} sites, "
        f"{seconds:.1f} s, {term.upper()} {loss}",
        phase=number,
        phases=context.n_phases,
        losses=losses,
        seconds=seconds,
    )


def mean_losses(replies: Iterable[TrainReply], arms: Iterable[str]) -> Losses:
    """Loss terms of each arm, averaged over the sites by their sample counts; the same to the
    bit in whatever order the replies come."""
    replies = list(replies)
    n = sum(reply.n_samples for reply in replies)
    means: Losses = {}
    for name in arms:
        told = [(reply.losses.get(name, {}), reply.n_samples) for reply in replies]
        for term in sorted({term for losses, _ in told for term in losses}):
            parts = [losses[term] * count for losses, count in told if term in losses]
            means.setdefault(name, {})[term] = math.fsum(parts) / n
    return means


def round_metrics(losses: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """MLflow's names for an arm's loss terms."""
    return {
        name: {f"train/{term}": value for term, value in terms.items()}
        for name, terms in losses.items()
    }
