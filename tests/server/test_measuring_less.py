"""Suppression against measuring less, on frontiers whose answer is known."""

import json

import numpy as np
import pytest

from fl_server.study.evaluation.measuring_less import measuring_less
from fl_server.study.evaluation.results import MergedScores
from infomri_core.messages import EvaluateReply, Scores
from infomri_core.plan.reading import parse_plan
from infomri_core.report.report import render
from infomri_core.results.frontier import Row, pareto
from infomri_core.results.measuring_less import CONSERVATIVE, META, PAIRED, comparisons, sentence
from infomri_core.results.operating_point import operating_point
from infomri_core.summaries.metrics import ImageQuality, ScoreHistogram
from tests.support.rows import changed, row_of


def row(
    beta: float, at: float, auroc: float, psnr: float, half: float = 0.0, **more: object
) -> Row:
    ends = {"psnr_low": {"unet": psnr - half}, "psnr_high": {"unet": psnr + half}} if half else {}
    ends |= {"auroc_low": auroc - half / 100, "auroc_high": auroc + half / 100} if half else {}
    values = {"auroc": auroc, "psnr": {"lmmse": psnr - 1, "unet": psnr}, **ends, **more}
    return row_of(f"b{beta:g}", "infomri", beta, 0, at, "marginal" if beta else "none", **values)


CURVE = [row(0, 16, 0.9, 24.0), row(0, 64, 0.8, 20.0), row(0, 256, 0.7, 19.0)]


def test_the_gain_is_read_between_the_accelerations_that_do_as_well() -> None:
    """Halfway between .8 and .9 the curve is at 22 dB, where it matters not what measured it."""
    (found,) = comparisons([*CURVE, row(1e-3, 32, 0.85, 20.5)])
    assert found.gain.value == pytest.approx(1.5)
    assert [r.acceleration for r in found.between] == [64.0, 16.0]
    assert not found.bound and found.how == CONSERVATIVE


@pytest.mark.parametrize(
    ("psnr", "half", "words"),
    [
        (20.5, 0.1, "Suppression beats measuring less: at AUROC 0.850"),
        (21.9, 0.1, "is not shown to beat measuring less"),
        (23.5, 0.1, "does not beat measuring less"),
    ],
)
def test_the_sentence_says_who_wins_and_by_how_much(psnr: float, half: float, words: str) -> None:
    curve = [row(0, 16, 0.9, 24.0, half, auroc_low=0.84), row(0, 64, 0.8, 20.0, half)]
    said = sentence([*curve, row(1e-3, 32, 0.85, psnr, half)])
    assert words in said and f"gain {22 - psnr:+.1f} dB" in said
    assert words in render([*curve, row(1e-3, 32, 0.85, psnr, half)], {}, {})


def test_where_the_fewest_points_do_as_well_the_gain_is_a_bound_and_proves_nothing() -> None:
    rows = [row(0, 64, 0.9, 20.0, 0.1), row(1e-3, 16, 0.899, 18.0, 0.1)]
    (found,) = comparisons(rows)
    assert found.bound and found.gain.value == pytest.approx(2.0)
    assert "not shown" in sentence(rows) and "at most 2.0 dB" in sentence(rows)


def test_no_comparison_without_a_curve_or_beyond_its_reach() -> None:
    assert comparisons([row(1e-3, 16, 0.9, 20.0)]) == []
    assert "not known" in sentence([row(1e-3, 16, 0.9, 20.0)])
    assert comparisons([*CURVE, row(1e-3, 16, 0.95, 20.0)]) == []
    other = changed(row(1e-3, 16, 0.85, 20.0), seed=1)
    assert comparisons([*CURVE, other]) == [] and sentence(CURVE) == ""


def test_a_row_that_another_acceleration_beats_is_no_part_of_the_curve() -> None:
    worse = row(0, 32, 0.82, 23.9)
    suppressed = row(1e-3, 32, 0.85, 20.5)
    assert comparisons([*CURVE, worse, suppressed])[0].gain.value == pytest.approx(1.5)


def test_the_operating_point_and_the_front_run_over_all_accelerations() -> None:
    rows = [row(0, 16, 0.9, 24.0, auroc_low=0.84), row(0, 64, 0.83, 20.0)]
    rows += [row(1e-3, 16, 0.88, 23.0), row(1e-3, 32, 0.86, 21.0), row(1e-3, 64, 0.7, 20.5)]
    assert operating_point(rows) is rows[3]
    assert pareto(rows) == rows[:4]


def test_no_correlation_makes_the_conservative_interval_too_narrow() -> None:
    generator, n = np.random.default_rng(0), 4000
    rows = [row(0, 64, 0.8, 20.0, 0.5), row(0, 16, 0.9, 24.0, 0.5), row(1e-3, 32, 0.85, 20.5, 0.5)]
    (found,) = comparisons(rows)
    assert found.gain.low is not None and found.gain.high is not None
    common = generator.normal(0, 0.5 / 1.96, n)
    for signs in np.array(np.meshgrid(*[[-1, 1]] * 3)).T.reshape(-1, 3):
        p = [r.psnr["unet"] + sign * common for r, sign in zip(rows, signs)]
        u = [(r.utility.value or 0.0) + sign * common / 100 for r, sign in zip(rows, signs)]
        gains = p[0] + (u[2] - u[0]) / (u[1] - u[0]) * (p[1] - p[0]) - p[2]
        low, high = np.quantile(gains, [0.025, 0.975])
        assert found.gain.low - 0.05 < low and high < found.gain.high + 0.05


PLAN = """
study.name = "less"
task = { labels = ["a"], shape = [32, 32] }
measurement = { ratio_range = [0.02, 0.1], accelerations = [16.0, 32.0] }
evaluation = { attacks = ["lmmse"], noise = false }
[[arms]]
sampler = "infomri"
[[arms]]
sampler = "infomri"
suppression = "marginal"
beta = 1e-3
"""


def test_pairing_makes_the_interval_narrow_and_it_comes_back_from_the_file() -> None:
    """All rows err alike by groups of patients; what is left of the gain's error is small."""
    plan, draws = parse_plan(PLAN), np.random.default_rng(1)
    n, common = 300, draws.normal(0, 2, 10)
    slots, labels = np.arange(n) % 10, draws.integers(0, 2, (n, 1))
    hard = draws.normal(size=(n, 1))
    plain, suppressed = (arm.name for arm in plan.arms)
    cells = {
        (plain, 16.0): (1.8, 24.0),
        (plain, 32.0): (1.0, 20.0),
        (suppressed, 16.0): (1.6, 21.0),
    }
    scores, rows = {}, []
    for (arm, at), (shift, psnr) in cells.items():
        images = np.zeros((n, 4))
        images[:, 0] = psnr + common[slots] + draws.normal(0, 0.2, n)
        quality = ImageQuality.from_images(images, slots)
        histogram = ScoreHistogram.from_scores(shift * labels + hard, labels, slots)
        scores[arm, at] = Scores(histogram, {"lmmse": quality})
        found, auroc = quality.estimate("psnr"), histogram.auroc_estimate()
        ends = {"psnr_low": {"lmmse": found.low}, "psnr_high": {"lmmse": found.high}}
        ends |= {"auroc_low": auroc.low, "auroc_high": auroc.high, "auroc": auroc.value}
        beta = 1e-3 if arm == suppressed else 0.0
        rows.append(row_of(arm, "infomri", beta, 0, at, psnr={"lmmse": found.value}, **ends))
    merged = MergedScores(plan)
    assert merged.add("here", EvaluateReply(60, scores, task="classification"))
    stored = json.loads(json.dumps(measuring_less(plan.task, merged, rows)))
    (paired,), (apart,) = comparisons(rows, {META: stored}), comparisons(rows)
    assert paired.how == PAIRED and apart.how == CONSERVATIVE
    assert paired.gain.value == pytest.approx(apart.gain.value)
    width = [(g.high or 0) - (g.low or 0) for g in (paired.gain, apart.gain)]
    assert 0 < width[0] < width[1] / 4
    assert (paired.gain.low or 0) > 0 > (apart.gain.low or 0)
    assert "beats" in sentence(rows, {META: stored}) and "not shown" in sentence(rows)
