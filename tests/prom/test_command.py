"""``infomri prom`` writes a mask of the exact budget and says how good it is, or why not."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from fl_server.cli import app
from infomri_core.system.errors import InputError


def prom(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["prom", *arguments])


def test_a_data_sets_mask_is_written_with_its_figures_on_other_patients(tmp_path: Path) -> None:
    out = tmp_path / "masks"
    asked = ("--data", "phantom:?size=32&patients=8", "--acceleration", "8", "--runs", "2")
    result = prom(*asked, "--steps", "20", "--out", str(out))
    assert result.exit_code == 0, result.output
    mask, described = np.load(out / "mask.npy"), json.loads((out / "prom.json").read_text())
    assert mask.shape == (32, 32) and mask.sum() == described["points"] == 128
    assert set(np.unique(mask)) == {0, 1} and described["seeds"] == [0, 1]
    assert described["scored"] == "on patients not fitted on"
    figures = described["figures"]
    assert figures["highest gain"]["psnr"] > figures["ProM"]["psnr"]  # 20 steps are too few
    assert "one of each pair, Hermitian completion" in result.output
    assert np.load(out / "probability.npy").shape == (32, 32)


def test_a_file_of_images_is_scored_on_itself_and_that_is_said(tmp_path: Path) -> None:
    file = tmp_path / "scan.npy"
    np.save(file, np.random.default_rng(0).random((2, 16, 24), dtype=np.float32))
    result = prom(
        "--data",
        str(file),
        "--acceleration",
        "4",
        "--constraint",
        "1d",
        "--steps",
        "5",
        "--out",
        str(tmp_path / "m"),
    )
    assert result.exit_code == 0, result.output
    mask = np.load(tmp_path / "m" / "mask.npy")
    assert mask.shape == (16, 24) and (mask == mask[:1]).all() and mask[0].sum() == 6
    assert "on the images fitted on" in result.output


@pytest.mark.parametrize(
    ("data", "options", "said"),
    [
        ("nowhere.npy", (), "no such file"),
        ("phantom:?size=32&patients=8", ("--acceleration", "5000"), "acceleration"),
        ("phantom:?size=32&patients=8", ("--constraint", "3d"), "constraint"),
        ("complex.npy", (), "complex"),
        ("text.npy", (), "holds none"),
        ("slices.tif", (), ".npy or .png"),
    ],
)
def test_bad_input_is_refused_before_any_work(
    tmp_path: Path, data: str, options: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    image = np.random.default_rng(0).random((16, 16))
    np.save("complex.npy", np.fft.fftshift(np.fft.fft2(image)).astype(np.complex64))
    Path("text.npy").write_text("no array")
    Path("slices.tif").write_bytes(b"II*")
    result = prom("--data", data, "--out", "out", "--acceleration", "4", "--steps", "1", *options)
    assert isinstance(result.exception, InputError), result.output
    assert said in str(result.exception)
    assert not Path("out").exists()
