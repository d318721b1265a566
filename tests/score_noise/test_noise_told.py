"""What officers, reports and the dashboard are told of the noise of scores, on and off."""

from dataclasses import replace
from pathlib import Path

import pytest
import tomli_w

from fl_client.commands.plan_words import in_words
from fl_server.study.evaluation.held_out import HeldOut
from fl_server.study.evaluation.noised_rows import NoiseTask
from fl_server.study.evaluation.results import MergedScores
from infomri_core.dp.outside_epsilon import EXACT_SCORES, scores_sentence, weights_sentences
from infomri_core.messages import EvaluateReply
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from infomri_core.report.report import render
from infomri_core.score_noise.mechanism import form_of
from infomri_core.system.errors import InputError
from tests.support.small import small_table
from tests.support.vault_fakes import (
    FakeSite,
    ask,
    evaluate_task,
    jobs_in,
    make_plan,
    make_settings,
    make_table,
)

NOISED = make_plan(evaluation={"attacks": ["lmmse"], "epsilon": 4.0})
EXACT = make_plan()


def asked(plan: Plan) -> NoiseTask:
    task = evaluate_task(plan)
    return NoiseTask(plan, form_of(plan, task.arms, task.attacks), HeldOut())


def answered(folder: Path, plan: Plan) -> EvaluateReply:
    task = evaluate_task(plan)
    if plan.evaluation.noise:
        form, known = asked(plan).form, HeldOut()
        task = replace(task, reference=known.reference(form), expected=known.expected(form))
    with jobs_in(folder) as (jobs, _, _):
        reply = ask(jobs, task)
    assert isinstance(reply, EvaluateReply), reply
    return reply


def test_a_plan_is_shown_with_what_its_scores_say_of_a_patient_and_what_that_costs(
    tmp_path: Path,
) -> None:
    words = "\n".join(in_words(NOISED, make_settings(tmp_path, max_epsilon=3.0)))
    assert "epsilon 4 at delta 1e-05" in words and EXACT_SCORES not in words
    assert "0.00 now, 4.00 after the scoring: refused, the site's budget is 3" in words
    answered(tmp_path, NOISED)
    later = "\n".join(in_words(NOISED, make_settings(tmp_path)))
    assert "4.00 now" in later


def test_a_plan_that_switches_the_noise_off_is_shown_with_what_a_centre_can_then_do(
    tmp_path: Path,
) -> None:
    words = "\n".join(in_words(EXACT, make_settings(tmp_path)))
    assert EXACT_SCORES in words and "93 % of 60 patients" in words and "debited" not in words


def test_a_plan_is_shown_with_whether_its_scores_leave_masked(tmp_path: Path) -> None:
    masked = "under masks: the study centre sees their sum over at least 3 sites"
    training = {"rounds": 2, "local_steps": 1, "quorum": 3}
    secure = {"aggregation": {"secure": True}, "training": training}
    for evaluation, expected, other in (
        ({"attacks": ["lmmse"]}, masked, "NOT under masks"),
        ({"attacks": ["lmmse"], "noise": False}, "NOT under masks", masked),
    ):
        plan = make_plan(**secure, evaluation=evaluation)
        words = "\n".join(in_words(plan, make_settings(tmp_path)))
        assert expected in words and other not in words
    assert masked not in "\n".join(in_words(NOISED, make_settings(tmp_path)))


def test_the_report_says_over_which_sites_a_sum_of_scores_is(tmp_path: Path) -> None:
    meta = {"summed_over": ["a", "b", "c"], "per_site": []}
    assert "Scores are the sum over a, b, c" in render([], meta, {})
    assert "Scores are the sum" not in render([], {"per_site": []}, {})


def test_the_report_says_which_of_the_two_it_was_and_nothing_of_studies_before() -> None:
    rules = {"epsilon": 8.0, "delta": 1e-5}
    assert "epsilon 8" in weights_sentences({"evaluation_noise": rules})[-1]
    assert weights_sentences({"evaluation_noise": None})[-1] == EXACT_SCORES
    assert weights_sentences({}) == []
    clipped = scores_sentence({**rules, "clipped": 0.3, "clip_db": 4.0})
    assert "30% of the patients was clipped to 4 dB" in clipped


def test_sums_of_sites_merge_into_figures_with_the_noise_in_their_meta(tmp_path: Path) -> None:
    merged = MergedScores(NOISED, noise=asked(NOISED))
    replies = [answered(tmp_path / name, NOISED) for name in ("a", "b")]
    assert all(merged.add(name, reply) for name, reply in zip("ab", replies))
    figures = merged.figures()
    assert set(figures) == set(asked(NOISED).form.cells)
    assert merged.noise_meta()["evaluation_noise"]["epsilon"] == 4.0
    assert merged.sites == {"a": 10, "b": 10} and len(merged.by_site) == 2 * len(figures)


def test_what_is_not_under_the_plans_noise_is_not_merged(tmp_path: Path) -> None:
    noised, exact = answered(tmp_path / "a", NOISED), answered(tmp_path / "b", EXACT)
    weak = make_plan(evaluation={"attacks": ["lmmse"], "epsilon": 5.0})
    for plan, reply in ((weak, noised), (EXACT, noised)):
        task = asked(plan) if plan.evaluation.noise else None
        assert not MergedScores(plan, noise=task).add("a", reply)
    both = MergedScores(NOISED, noise=asked(NOISED))
    assert both.add("a", noised) and not both.add("b", exact)
    off = MergedScores(EXACT)
    assert off.add("b", exact) and off.noise_meta() == {"evaluation_noise": None}


def test_an_attack_that_failed_at_one_site_has_no_figure(tmp_path: Path) -> None:
    site = FakeSite(make_table())
    reply = answered(tmp_path, NOISED)
    failed = EvaluateReply(10, {}, None, {"lmmse": "memory"}, reply.sums, reply.noise)
    merged = MergedScores(NOISED, noise=asked(NOISED))
    assert merged.add("a", failed) and site.calls == 0
    assert all("lmmse" not in figures["psnr"] for figures in merged.figures().values())


@pytest.mark.parametrize(
    ("key", "value"), [("epsilon", 0.0), ("delta", 0.5), ("clip_db", 0.0), ("noise", "no")]
)
def test_noise_that_cannot_be_is_refused(key: str, value: object) -> None:
    table = small_table()
    table["evaluation"][key] = value
    with pytest.raises(InputError, match=key):
        parse_plan(tomli_w.dumps(table))
