"""ProM's table: every method has the points it should, and the closed forms are ordered as the
theory says, on images small enough for a test."""

import numpy as np
import pytest
import torch

from infomri_core.benchmark import prom_table1
from infomri_core.benchmark.benchmark import Request
from infomri_core.benchmark.intervals import half_width
from infomri_core.benchmark.prom_table1 import ProMTable1, with_phase

REQUEST = Request("phantom:?size=64&patients=8", n_seeds=1)


def test_closed_forms_keep_their_order_and_phase_takes_hermitian_completion_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prom_table1, "_PHASE_WIDTH", 8.0)
    rows = {row.key: row for row in ProMTable1().rows(REQUEST)}
    psnr = {}
    for name in ("highest energy", "highest gain", "one of each pair + Hermitian"):
        figures = rows[f"{name} | 8x | 0"].run()
        assert figures["points"] == 64 * 64 // 8
        psnr[name] = figures["psnr"]
    assert psnr["highest energy"] < psnr["highest gain"] < psnr["one of each pair + Hermitian"]
    complex_images = rows["one of each pair + Hermitian, with phase | 8x | 0"].run()
    assert complex_images["psnr"] < psnr["highest energy"]


def test_every_method_is_in_the_table_beside_what_was_published() -> None:
    benchmark = ProMTable1()
    rows = benchmark.rows(REQUEST)
    assert len({row.key for row in rows}) == len(rows)
    figures = {"psnr": 30.0, "psnr_half_width": 0.5, "ssim": 0.9}
    table = benchmark.table({row.key: figures for row in rows})
    for name in benchmark.published:
        assert f"| {name} | 30.00 +- 0.50 (0.900)" in table
        assert f"| {name}: published |" in table
    # Its centre alone is more than 32x allows.
    line = next(line for line in table.splitlines() if line.startswith("| equispaced |"))
    assert line.endswith("| - |")


def test_the_tuned_gaussian_has_a_centre(monkeypatch: pytest.MonkeyPatch) -> None:
    images = prom_table1.open_images(REQUEST.data, 1000, 0)
    mask = prom_table1._tuned_gaussian(images, 16, 0)
    assert int(mask.sum()) == 64 * 64 // 16 and bool(mask[32, 32])


def test_phase_leaves_magnitudes_alone() -> None:
    images = torch.rand(2, 16, 16, generator=torch.Generator().manual_seed(0))
    turned = with_phase(images)
    torch.testing.assert_close(turned.abs(), images)
    assert float(turned.angle().std()) > 0.5


def test_half_widths_cover_the_mean_of_clustered_slices() -> None:
    """12 patients of five slices, 400 draws: a binomial of 0.95 stays above 0.91 (four sigma)."""
    generator, patients = np.random.default_rng(0), np.repeat(np.arange(12), 5)
    held = 0
    for _ in range(400):
        values = generator.normal(size=12).repeat(5) + 0.3 * generator.normal(size=60)
        held += abs(values.mean()) <= half_width(values, patients)
    assert held / 400 > 0.91
    assert np.isnan(half_width(np.ones(3), np.zeros(3)))
