"""The rows of InfoMRI's Table 1 that need no training."""

from pathlib import Path

import numpy as np
import pytest

from infomri_core.benchmark.benchmark import Request
from infomri_core.benchmark.infomri_table1 import InfoMRITable1
from infomri_core.data import open_dataset
from infomri_core.system.errors import InputError


def test_closed_forms_beat_the_fixed_pattern_and_keep_their_order(tmp_path: Path) -> None:
    images = open_dataset("phantom:?size=64&patients=6&slices=1").images(np.arange(6))
    np.savez(tmp_path / "own.npz", image=(255 * images.numpy()).astype(np.uint8))
    benchmark = InfoMRITable1()
    found = {r.key: r.run() for r in benchmark.rows(Request(str(tmp_path / "own.npz")))}
    psnr = {key: figures["psnr"] for key, figures in found.items()}
    for ratio in ("15%", "10%", "5%"):
        energy, gain, one = (
            psnr[f"{name} | {ratio}"]
            for name in (
                "highest energy, zero-filled",
                "highest gain, zero-filled",
                "one of each pair + Hermitian",
            )
        )
        assert psnr[f"pseudo-radial, zero-filled | {ratio}"] < energy < gain < one
    table = benchmark.table(found)
    assert "published: InfoMRI-Unroll" in table and "| - |" not in table


@pytest.mark.parametrize("array", [np.zeros((4, 4)), np.zeros((2, 4, 4), complex)])
def test_other_files_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "own.npy", array)
    rows = InfoMRITable1().rows(Request(str(tmp_path / "own.npy")))
    with pytest.raises(InputError, match="real"):
        rows[0].run()
    with pytest.raises(InputError, match="check the path"):
        InfoMRITable1().rows(Request(str(tmp_path / "none.npy")))[0].run()
