"""The frontier's figure: reproducible bytes, every row shown or named."""

from dataclasses import replace
from pathlib import Path

import pytest

from fl_server.report import frontier_figure
from infomri_core.results.frontier import Row
from tests.support.rows import changed, row_of

LEARNED = row_of(
    "infomri-s0", "infomri", 0.0, 0, 16.0, auroc=0.9, psnr={"lmmse": 15.0}, psnr_prior=12.0
)
SOFTER = replace(LEARNED, beta=0.01, suppression="marginal", psnr_answer=12.5)
NEW_SAMPLER = changed(LEARNED, sampler="spiral", auroc_low=0.8, psnr_high={"lmmse": 16.0})
UNDEFINED = Row("uniform-s0", "uniform", 0.0, 0, 32.0, psnr={"lmmse": 14.0})


def test_equal_rows_give_equal_svg(tmp_path: Path):
    rows = [LEARNED, SOFTER, NEW_SAMPLER, UNDEFINED]
    for name in ("first", "second"):
        written = frontier_figure.frontier(rows, tmp_path / name)
        assert [path.name for path in written] == [f"{name}.png", f"{name}.svg"]
    assert (tmp_path / "first.svg").read_bytes() == (tmp_path / "second.svg").read_bytes()


def test_every_row_is_shown_or_named(tmp_path: Path):
    _, svg = frontier_figure.frontier(
        [LEARNED, SOFTER, NEW_SAMPLER, UNDEFINED], tmp_path / "frontier"
    )
    text = svg.read_text()
    expected = ["β=0.01", "16x", "spiral", "floor", "ideal", "suppressed", "measuring less"]
    for part in [*expected, "a figure is undefined: uniform at 32x", "dB"]:
        assert part in text


@pytest.mark.parametrize("rows", [[], [UNDEFINED]])
def test_nothing_to_show_is_still_a_figure(tmp_path: Path, rows: list[Row]):
    assert all(path.stat().st_size > 0 for path in frontier_figure.frontier(rows, tmp_path / "f"))


def test_all_accelerations_stand_in_one_panel_and_smaller_markers_measure_less():
    poor = changed(LEARNED, acceleration=32.0, auroc=0.4)
    (axes,) = frontier_figure._draw([LEARNED, poor]).axes
    low, high = axes.get_ylim()
    assert low < 0.4 and 0.9 < high <= 1.01
    sizes = {
        line.get_ydata()[0]: line.get_markersize()
        for line in axes.lines
        if line.get_label().startswith("InfoMRI")
    }
    assert sizes[0.9] > sizes[0.4] > 0
    assert [text.get_text() for text in axes.texts] == ["β=0"], "one label an arm"


def test_the_legend_lies_within_the_picture() -> None:
    """All samplers at once, whose names are of all lengths."""
    from fl_server.report.frontier_figure import _draw
    from infomri_core.sampling.registry import SAMPLERS

    rows = [
        row_of(
            f"{name}-b{beta:g}",
            name,
            beta,
            0,
            2.0 ** (3 + n % 6),
            auroc=0.9,
            psnr={"lmmse": 20.0 + n},
        )
        for n, name in enumerate(SAMPLERS)
        for beta in (0.0, 1e-4)
    ]
    figure = _draw(rows)
    figure.canvas.draw()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.x1
    assert box.y0 >= 0 and box.y1 <= figure.bbox.y1


def test_an_arm_that_asks_for_images_does_not_measure_less() -> None:
    row = row_of("infomri-b-inf-s0", "infomri", -float("inf"), 0, 8.0, auroc=0.9, psnr={"a": 20.0})
    names = [text.get_text() for text in frontier_figure._draw([row]).legends[0].get_texts()]
    assert any("asks for the image" in name for name in names)
    assert not any("measuring less" in name for name in names)
