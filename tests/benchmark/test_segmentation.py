"""The segmentation benchmark: what a perfect model scores, sizes, and one short training."""

import pytest

from infomri_core.benchmark import segmentation
from infomri_core.benchmark.benchmark import Figures, Request
from infomri_core.benchmark.latent_study import SAMPLES
from infomri_core.benchmark.segmentation import InfoMRISegmentation
from infomri_core.benchmark.stages import PROTOCOLS
from infomri_core.system.errors import InputError

DISCS = "phantom:?ambiguous=1&size=32&patients=60&slices=1"


@pytest.fixture(scope="module")
def found() -> dict[str, Figures]:
    """Every row of one seed after a single step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segmentation, "_SCHEDULES", {"small": (1, 8), "full": (1, 8)})
        rows = InfoMRISegmentation().rows(Request(DISCS, n_seeds=1))
        return {row.key: row.run() for row in rows}


def test_of_a_perfect_model_v_falls_as_one_over_n_and_u_stays(found: dict[str, Figures]) -> None:
    perfect = found["the phantom's own posterior | 0"]
    d, r = perfect["D"], perfect["R"]
    for n in SAMPLES[1:]:
        # Twelve patients: the mean's standard error is about .03.
        assert perfect[f"{n} samples | V"] == pytest.approx(d * (1 / n + 1 / r), abs=0.08)
        assert perfect[f"{n} samples | U"] == pytest.approx(0, abs=0.08)
    assert perfect["2 samples | V"] - perfect["32 samples | V"] > 0.2 * d


def test_sizes_are_the_published_ones(found: dict[str, Figures]) -> None:
    sizes = found["sizes | 0"]
    assert round(sizes["training"], 1) == 167.6 and round(sizes["deployed"], 1) == 83.8


def test_the_table_sets_rivals_and_published_rows_side_by_side(found: dict[str, Figures]) -> None:
    table = InfoMRISegmentation().table(found)
    for words in (
        "z = mean",
        "no latents, thresholds",
        "Tackle, one mask",
        "published: InfoMRI",
        "D (1/n + 1/R)",
    ):
        assert words in table
    assert "167.6 M" in table and "nan" not in table
    for seed, latent in (("latent | 0", True), ("without latents | 0", False)):
        assert ("thresholds | 8x | U" in found[seed]) == latent
        assert found[seed]["one mask | 8x | spread"] == 0


def test_data_without_outlines_are_refused() -> None:
    rows = InfoMRISegmentation().rows(Request("mnist:none", n_seeds=1))
    models = ("latent", "without latents", *PROTOCOLS)
    assert [row.key for row in rows] == ["sizes | 0", *(f"{name} | 0" for name in models)]
    with pytest.raises(InputError):
        rows[1].run()
