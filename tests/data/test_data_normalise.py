"""Laws of the normalisation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infomri_core.data.normalise import normalise, streamed_percentile, volume_scale
from infomri_core.system.errors import InputError


@given(st.lists(st.integers(1, 400), min_size=1, max_size=8), st.floats(50.0, 100.0))
def test_a_streamed_percentile_is_the_percentile_of_all(sizes: list[int], percent: float) -> None:
    rng = np.random.default_rng(sum(sizes))
    chunks = [rng.gamma(2.0, size=n) for n in sizes]
    expected = np.percentile(np.concatenate(chunks), percent)
    assert streamed_percentile(chunks, sum(sizes), percent) == pytest.approx(expected, rel=1e-12)


def test_normalised_images_do_not_depend_on_the_unit() -> None:
    volume = np.random.default_rng(0).gamma(2.0, size=(5, 16, 16))
    first = normalise(volume, volume_scale(volume, 5, "a"))
    second = normalise(1e-6 * volume, volume_scale(1e-6 * volume, 5, "b"))
    np.testing.assert_allclose(first, second, rtol=1e-5)
    assert first.min() >= 0.0 and first.max() == 1.0 and first.dtype == np.float32


@pytest.mark.parametrize(
    ("pixel", "message"), [(np.nan, "v slice 1: expected finite"), (0.0, "an image with signal")]
)
def test_volumes_without_usable_pixels_are_refused(pixel: float, message: str) -> None:
    volume = np.zeros((3, 8, 8))
    volume[1, 2, 3] = pixel
    with pytest.raises(InputError, match=message):
        volume_scale(volume, 3, "v")
