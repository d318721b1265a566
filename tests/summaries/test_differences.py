"""A difference of two arms on the same patients: its interval covers, pairing makes it narrow."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_server.study.evaluation.results import exact_figures
from infomri_core.report.tables import differences
from infomri_core.summaries.jackknife import Estimate, conservative_difference
from infomri_core.summaries.metrics import ImageQuality, ScoreHistogram
from infomri_core.tasks.registry import figures_of
from tests.support.vault_fakes import PLAN, FakeSite, evaluate_task, make_table

N = 200

AUROC = figures_of("classification")[0]


def two_arms(draws: np.random.Generator) -> tuple[ScoreHistogram, ScoreHistogram]:
    """Two arms that err alike: a slice that one finds hard is hard for the other."""
    labels = draws.integers(0, 2, (N, 1))
    hard, slots = draws.normal(size=(N, 1)), draws.permutation(N) % 10
    arms = [1.5 * shift * labels + hard + 0.3 * draws.normal(size=(N, 1)) for shift in (0.6, 0.9)]
    a, b = (ScoreHistogram.from_scores(logits, labels, slots) for logits in arms)
    return a, b


@pytest.fixture(scope="module")
def studies() -> list[tuple[Estimate, Estimate]]:
    """Of 400 studies the paired difference and the conservative one."""
    draws = np.random.default_rng(0)
    found = []
    for _ in range(400):
        a, b = two_arms(draws)
        apart = conservative_difference(a.auroc_estimate(), b.auroc_estimate())
        found.append((a.auroc_difference(b), apart))
    return found


def covers(found: list[Estimate], truth: float) -> float:
    return float(np.mean([e.low is None or e.low <= truth <= (e.high or 0) for e in found]))


def width(found: list[Estimate]) -> float:
    return float(np.median([(e.high or 0) - (e.low or 0) for e in found]))


def test_the_paired_interval_covers_and_the_conservative_one_covers_more(
    studies: list[tuple[Estimate, Estimate]],
) -> None:
    paired, apart = [list(part) for part in zip(*studies, strict=True)]
    truth = float(np.mean([e.value for e in paired]))
    assert 0.91 <= covers(paired, truth) <= 0.985
    assert covers(apart, truth) >= 0.99
    assert width(paired) < width(apart) / 2
    for one, other in studies:
        assert one.value == pytest.approx(other.value)


def test_arms_that_are_the_same_have_no_difference_and_no_interval() -> None:
    a, _ = two_arms(np.random.default_rng(1))
    assert a.auroc_difference(a) == Estimate(0.0, n_groups=10)


@given(st.integers(0, 2**32))
def test_a_difference_of_image_quality_is_that_of_the_images_themselves(seed: int) -> None:
    draws = np.random.default_rng(seed)
    first, gain, slots = draws.normal(size=(60, 4)), draws.normal(size=(60, 4)), np.arange(60) % 6
    a, b = (ImageQuality.from_images(v, slots) for v in (first, first + gain))
    found = ImageQuality.from_images(gain, slots).estimate("psnr")
    paired = a.difference(b, "psnr")
    assert paired.value == pytest.approx(found.value, abs=1e-9)
    assert (paired.low, paired.high) == pytest.approx((found.low, found.high), abs=1e-9)


def test_a_rows_gain_has_the_paired_interval_of_attack_and_floor() -> None:
    draws = np.random.default_rng(3)
    table = make_table()
    site = FakeSite(table)
    scores = site.evaluated(evaluate_task(PLAN)).scores
    (_, one), *_ = scores.items()
    slots = np.arange(60) % 6
    floor, gain = draws.normal(size=(60, 4)), draws.normal(2.0, 0.1, (60, 4))
    quality = {
        "mean": ImageQuality.from_images(floor, slots),
        "lmmse": ImageQuality.from_images(floor + gain, slots),
    }
    row = exact_figures(PLAN, replace(one, quality=quality))
    truth = ImageQuality.from_images(gain, slots).estimate("psnr")
    assert row["gain_low"] == {"prior": pytest.approx(truth.low)}
    assert row["gain_high"] == {"prior": pytest.approx(truth.high)}
    assert row["gain_low"]["prior"] > 1.8  # the figures themselves have intervals ten times wider


def test_other_groups_have_no_paired_difference() -> None:
    draws = np.random.default_rng(2)
    a, b = (ImageQuality.from_images(draws.normal(size=(n, 4)), np.zeros(n, int)) for n in (5, 6))
    assert a.difference(b, "psnr") == Estimate(None)


@given(st.floats(-1, 1), st.floats(0.1, 3), st.floats(0.1, 3))
def test_no_correlation_makes_a_difference_wider_than_the_conservative_one(
    correlation: float, sd_a: float, sd_b: float
) -> None:
    a, b = (
        Estimate(0.0, -1.96 * sd_a, 1.96 * sd_a),
        Estimate(1.0, 1 - 1.96 * sd_b, 1 + 1.96 * sd_b),
    )
    found = conservative_difference(a, b)
    sd = (sd_a**2 + sd_b**2 - 2 * correlation * sd_a * sd_b) ** 0.5
    assert found.low is not None and found.high is not None
    assert found.high - found.low >= 2 * 1.96 * sd - 1e-9


def test_a_figure_without_interval_gives_a_difference_without_one() -> None:
    known = Estimate(0.8, 0.7, 0.9)
    assert conservative_difference(known, Estimate(0.9)).low is None
    assert conservative_difference(known, Estimate(None)) == Estimate(None)


def test_the_report_says_how_each_interval_was_made() -> None:
    ends = {"value": -0.1, "low": -0.2, "high": -0.05}
    item = {"first": ["a", 4.0], "second": ["b", 4.0], "how": "paired", "auroc": ends, "psnr": {}}
    page = differences([item], AUROC)
    assert "a at 4x" in page and "-0.200 to -0.050" in page and "paired" in page
    assert differences([], AUROC) == ""
