"""The scoring under secure aggregation: the study centre sees the sum over the sites only."""

from dataclasses import replace

from fl_server.study.context import State, StudyContext
from fl_server.study.enrolment import deadline
from fl_server.study.epsilon import check_epsilon, report_epsilons
from fl_server.study.failure import StudyFailed
from fl_server.study.secure.collect import Question, ask_masked
from infomri_core.messages import EvaluateTask, MaskedReply
from infomri_core.score_noise.mechanism import Form
from infomri_core.score_noise.ring import ScoresSum, ring_size, sum_from_ring

ATTEMPTS = 3


def gather_scores(
    context: StudyContext, state: State, task: EvaluateTask, form: Form
) -> tuple[list[str], ScoresSum]:
    """The sites in the sum, and their noised sums of ``form`` together.

    Raises ``StudyFailed`` when fewer than the quorum answered ``ATTEMPTS`` times.
    """
    plan = context.plan

    def check(site: str, reply: MaskedReply) -> None:
        report_epsilons(state.history, {site: reply.epsilon})
        check_epsilon(plan, reply)

    question = Question(
        "evaluate",
        state.round,
        lambda masking: replace(task, deadline=deadline(plan), masking=masking),
        ring_size(form, task.attacks),
        check,
    )
    for _ in range(ATTEMPTS):
        found = ask_masked(
            context,
            context.roster.participants(state.round),
            question,
            lambda ring, n_sites: sum_from_ring(ring, form, task.attacks, n_sites),
        )
        if found is not None:
            return found
    raise StudyFailed(
        f"the scoring was answered by fewer than {plan.training.quorum} sites {ATTEMPTS} times; "
        "fix the sites named above and resume"
    )
