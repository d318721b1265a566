"""Chosen weights that write which slice it is and what it shows into its score.

The adversary sets every slice's score outright, which no weights can beat; the figures at full
size are those of ``python -m benchmarks.chosen_weights``.
"""

import numpy as np
import pytest

from benchmarks.chosen_weights import (
    Recovery,
    cohort_attack,
    ideal_attack,
    images,
    membership,
    target_attack,
)
from infomri_core.plan.plan import Evaluation

TARGETS = "phantom:?hospital=site&patients=40&slices=1&size=16&seed=5&prevalence=0.4"
KNOWN = "phantom:?hospital=centre&patients=120&slices=1&size=16&seed=6&prevalence=0.4"
DEFAULT = Evaluation().epsilon


@pytest.fixture(scope="module")
def pictures() -> tuple[np.ndarray, np.ndarray]:
    return images(TARGETS), images(KNOWN)


def mean_psnr(targets: np.ndarray, known: np.ndarray) -> float:
    return float(-10 * np.log10(((targets - known.mean(0)) ** 2).mean(1)).mean())


def test_exact_sums_over_groups_give_most_patients_images(
    pictures: tuple[np.ndarray, np.ndarray],
) -> None:
    found = cohort_attack(*pictures, None, 0)
    assert found.share > 0.8 and found.correlation > 0.9
    assert found.psnr > mean_psnr(*pictures) + 6


def test_under_the_default_noise_the_same_attack_gets_nothing(
    pictures: tuple[np.ndarray, np.ndarray],
) -> None:
    found = cohort_attack(*pictures, DEFAULT, 0)
    assert abs(found.correlation) < 0.1
    assert found.psnr < mean_psnr(*pictures)


def test_all_that_the_default_noise_allows_on_one_patient_is_less_than_two_db(
    pictures: tuple[np.ndarray, np.ndarray],
) -> None:
    tried: list[Recovery] = [target_attack(*pictures, DEFAULT, n, 0) for n in (1, 4)]
    tried += [ideal_attack(*pictures, DEFAULT, n, 0) for n in (1, 4, 16)]
    best = max(tried, key=lambda found: found.psnr)
    assert best.psnr < mean_psnr(*pictures) + 2
    assert max(found.correlation for found in tried) < 0.55


def test_the_more_epsilon_the_more_one_patient_gives_away(
    pictures: tuple[np.ndarray, np.ndarray],
) -> None:
    weak, strong = (ideal_attack(*pictures, epsilon, 8, 0) for epsilon in (1.0, 1000.0))
    assert weak.correlation < 0.3 and strong.correlation > 0.7
    assert 0.5 < membership(1.0) < membership(DEFAULT) < 0.8 < membership(32.0)
