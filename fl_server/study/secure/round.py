"""A round of training of which the study centre sees the sum only.

Sites train as ever and send their updates masked (:mod:`infomri_core.secagg`); once all have
answered, those that delivered give the shares that undo the masks of the sum. Which site's arm
diverged, and each site's losses, cannot be seen either: their sums can.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np

from fl_server.study.context import State, StudyContext
from fl_server.study.enrolment import deadline
from fl_server.study.epsilon import check_epsilon
from fl_server.study.reply_check import check_lost_state, report_lost_state
from fl_server.study.secure.collect import Question, ask_masked
from infomri_core.messages import MaskedReply, TrainTask
from infomri_core.secagg.update import UpdateSum, ring_size, sum_from_ring


@final
@dataclass
class MaskedAnswers:
    """What a round under secure aggregation gave; without a ``total`` it is to be tried again.
    ``epsilons``: what each site reported of its spending, whether its update was used or not."""

    number: int
    sites: Sequence[str] = ()
    total: UpdateSum | None = None
    epsilons: dict[str, float | None] = field(default_factory=dict)
    lost_state: dict[str, list[str]] = field(default_factory=dict)

    @property
    def n_samples(self) -> int:
        """Samples of all sites in the sum."""
        return self.total.n_samples if self.total else 0

    def mean(self, name: str) -> np.ndarray:
        """The sample-weighted mean of an arm's weights, float32 (n,)."""
        assert self.total is not None
        return self.total.arms[name].mean()

    def losses(self) -> dict[str, Mapping[str, float]]:
        """Loss terms of each arm, averaged over the samples of the sum."""
        arms = self.total.arms if self.total else {}
        return {name: arm.losses for name, arm in arms.items() if arm.losses}

    def dropped(self, quorum: int) -> dict[str, str]:
        """Arms that fewer sites than ``quorum`` brought through the round, and why."""
        arms = self.total.arms if self.total else {}
        return {
            name: f"diverged at {len(self.sites) - arm.n_sites} of {len(self.sites)} sites"
            for name, arm in arms.items()
            if arm.n_sites < quorum
        }


def gather_masked(context: StudyContext, state: State, number: int) -> MaskedAnswers:
    """The sum of the sites' updates in round ``number``, or an answer without one; every reason
    is told."""
    plan, answers = context.plan, MaskedAnswers(number)
    sizes = {name: len(flat) for name, flat in state.arms.items()}
    with_losses, terms = plan.privacy is None or plan.privacy.losses, plan.task.reported_terms

    def check(site: str, reply: MaskedReply) -> None:
        answers.epsilons[site] = reply.epsilon
        check_epsilon(plan, reply)
        check_lost_state(plan, reply, state.arms)

    question = Question(
        "train",
        number,
        lambda masking: TrainTask(
            *(plan.text, number, deadline(plan), state.variance, state.arms, masking),
            factors=state.factors,
        ),
        ring_size(sizes, terms),
        check,
        lambda site, reply: report_lost_state(context, answers, site, reply.lost_state),
    )
    nodes = context.roster.participants(number)
    found = ask_masked(
        context, nodes, question, lambda ring, n: sum_from_ring(ring, sizes, terms, n, with_losses)
    )
    if found is not None:
        answers.sites, answers.total = found
        _report_diverged(context, answers)
    return answers


def _report_diverged(context: StudyContext, answers: MaskedAnswers) -> None:
    n_sites = len(answers.sites)
    for name, arm in answers.total.arms.items() if answers.total else ():
        if arm.n_sites < n_sites:
            where = f"{n_sites - arm.n_sites} of {n_sites} sites, which ones is hidden"
            sentence = f"round {answers.number}: arm {name} diverged at {where}"
            context.progress.report("diverged", sentence)
