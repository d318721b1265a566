"""Diagnosis from the command line: the right arm, the scan as trained on, a table to read."""

import csv
import io
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from fl_server.commands.scans.diagnose import diagnose
from fl_server.inference.trained_arm import open_arm
from infomri_core.arms.weights import flatten
from infomri_core.inference.inference import ArmQuery, diagnose_kspace
from infomri_core.inference.scans import open_scan, phase_share
from infomri_core.physics.kspace import fft2c
from infomri_core.system.errors import InputError
from tests.support.trained_runs import LABELS, SHAPE, make_images, make_run

app = typer.Typer()
app.command()(diagnose)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def refusal(result: Result) -> str:
    assert isinstance(result.exception, InputError), result.output
    return str(result.exception)


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "knee")


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    path = tmp_path / "knee.npy"
    np.save(path, make_images())
    return path


def choice(run: Path, beta: float = 1e-3) -> tuple[object, ...]:
    return ("--model", run, "--beta", beta, "--arm-seed", 0, "--acceleration", 4)


def test_a_row_a_slice_with_probabilities_arm_and_points(run: Path, volume: Path):
    result = call(*choice(run), volume)
    assert result.exit_code == 0, result.output
    rows = table(result.stdout)
    assert [row["slice"] for row in rows] == ["0", "1", "2"]
    for row in rows:
        assert (row["input"], row["arm"]) == (str(volume), "infomri-marginal-b0.001-s0")
        assert (row["acceleration"], row["draws"]) == ("4", "1")
        assert int(row["points"]) == SHAPE[0] * SHAPE[1] // 4
        assert all(0 < float(row[f"p_{label}"]) < 1 for label in LABELS)
        assert all(row[f"sd_{label}"] == "" for label in LABELS)


def test_help_says_what_is_taken_and_gives_an_example():
    said = " ".join(call("--help").stdout.split())
    assert "complex k-space" in said
    assert "Example: `infomri diagnose" in said


def test_standard_output_holds_the_table_alone(run: Path, volume: Path):
    result = call(*choice(run), volume)
    assert result.stdout.startswith("input,slice,")
    assert "99.9th percentile" in result.stderr
    assert re.search(r"^diagnosing: \d+ slices$", result.stderr, re.M)
    assert "99.9th" not in result.stdout


def test_the_file_holds_what_standard_output_would(run: Path, volume: Path, tmp_path: Path):
    out = tmp_path / "new" / "p.csv"
    assert call(*choice(run), volume, "--out", out).exit_code == 0
    assert out.read_text() == call(*choice(run), volume).stdout


def test_the_same_seed_gives_the_same_rows_whatever_stands_beside(
    run: Path, volume: Path, tmp_path: Path
):
    other = tmp_path / "other.npy"
    np.save(other, make_images(2)[1])
    alone = table(call(*choice(run), volume).stdout)
    beside = table(call(*choice(run), other, volume).stdout)
    assert beside[1:] == alone
    assert table(call(*choice(run), volume, "--seed", 5).stdout) != alone


def test_draws_average_and_count_every_point_they_measured(run: Path, volume: Path):
    rows = table(call(*choice(run), volume, "--draws", 4).stdout)
    for row in rows:
        assert int(row["points"]) > SHAPE[0] * SHAPE[1] // 4
        assert all(float(row[f"sd_{label}"]) >= 0 for label in LABELS)


def test_exclusive_labels_share_a_probability_of_one(tmp_path: Path, volume: Path):
    run = make_run(tmp_path / "exclusive", exclusive=True)
    rows = table(call("--model", run, "--arm", "uniform-s0", "--acceleration", 2, volume).stdout)
    for row in rows:
        assert sum(float(row[f"p_{label}"]) for label in LABELS) == pytest.approx(1, abs=1e-5)


def test_a_volume_is_diagnosed_alike_whatever_its_intensity(run: Path, tmp_path: Path):
    found = []
    for factor in (1, 512):
        path = tmp_path / "scaled.npy"
        np.save(path, make_images() * factor)
        found.append(call(*choice(run), path).stdout)
    assert found[0] == found[1]


def test_kspace_of_an_image_differs_from_the_image_by_the_noise_alone(run: Path, tmp_path: Path):
    kspace = tmp_path / "kspace.npy"
    images = torch.from_numpy(make_images())
    np.save(kspace, (fft2c(images) * 7).numpy())
    scan = open_scan(str(kspace), SHAPE, kspace=True)
    assert scan.is_kspace
    trained = open_arm(run, ArmQuery("uniform-s0"))
    generator = torch.Generator().manual_seed(0)
    (batch,) = scan.batches()
    once = diagnose_kspace(trained.model, batch, 1.0, generator)
    again = diagnose_kspace(trained.model, batch, 1.0, generator)
    np.testing.assert_array_equal(once.mean, again.mean)
    scaled = images / np.percentile(images, 99.9)
    noiseless = diagnose_kspace(trained.model, fft2c(scaled), 1.0, generator)
    np.testing.assert_allclose(once.mean, noiseless.mean, atol=1e-5)


def test_phase_in_kspace_is_told_and_magnitude_removes_it(tmp_path: Path):
    images = torch.from_numpy(make_images())
    path = tmp_path / "phase.npy"
    np.save(path, fft2c(torch.polar(images, torch.full(SHAPE, 1.0))).numpy())
    assert "--magnitude" in open_scan(str(path), SHAPE, kspace=True).note
    plain = tmp_path / "plain.npy"
    np.save(plain, images.numpy())
    (removed,) = open_scan(str(path), SHAPE, magnitude=True).batches()
    (expected,) = open_scan(str(plain), SHAPE).batches()
    torch.testing.assert_close(removed, expected, atol=1e-5, rtol=0)


def test_the_share_of_phase_is_that_of_the_imaginary_part():
    image = torch.complex(torch.rand(9, 8), 0.5 * torch.rand(9, 8))
    expected = float((image.imag**2).sum() / (image.abs() ** 2).sum())
    assert phase_share(fft2c(image)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("mode", ["L", "I;16", "RGB", "LA"])
def test_a_png_is_diagnosed_like_its_array(run: Path, tmp_path: Path, mode: str):
    pixels = np.clip(make_images(1)[0], 0, 255).astype(np.uint8)
    png, npy = tmp_path / "slice.png", tmp_path / "slice.npy"
    np.save(npy, pixels)
    grey = Image.fromarray(pixels.astype(np.uint16) * 200 if mode == "I;16" else pixels)
    (grey if mode == "I;16" else grey.convert(mode)).save(png)
    (seen,) = open_scan(str(png), SHAPE).batches()
    (expected,) = open_scan(str(npy), SHAPE).batches()
    torch.testing.assert_close(seen, expected)
    assert call(*choice(run), png).exit_code == 0


def test_an_hdf5_file_is_its_image_or_the_centre_of_its_kspace(tmp_path: Path):
    images = make_images()
    with h5py.File(tmp_path / "image.h5", "w") as file:
        file["image"] = images
    kspace = fft2c(torch.from_numpy(images)).numpy()
    with h5py.File(tmp_path / "kspace.h5", "w") as file:
        file["kspace"] = np.pad(kspace, ((0, 0), (3, 4), (4, 4)))
    np.save(tmp_path / "image.npy", images)
    expected = next(open_scan(str(tmp_path / "image.npy"), SHAPE).batches())
    taken = next(open_scan(str(tmp_path / "image.h5"), SHAPE).batches())
    cut = next(open_scan(str(tmp_path / "kspace.h5"), SHAPE, magnitude=True).batches())
    assert torch.equal(taken, expected)
    assert torch.allclose(cut, expected, atol=1e-5)


def test_an_hdf5_file_of_something_else_is_refused(tmp_path: Path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["spectrum"] = np.zeros(3)
    with pytest.raises(InputError, match="image or kspace"):
        open_scan(str(tmp_path / "x.h5"), SHAPE)


def test_slices_of_a_data_set_are_taken_as_they_are(tmp_path: Path):
    uri = "phantom:?patients=4&slices=2&size=32&seed=1"
    scan = open_scan(uri, (32, 32))
    assert "normalised by the data set" in scan.note
    assert sum(len(batch) for batch in scan.batches()) == 8


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.zeros((2, *SHAPE), np.float32), "an image with signal"),
        (np.full((2, *SHAPE), np.nan), "finite"),
        (-make_images(), "a magnitude image"),
        (make_images()[:, :-1], r"slices of shape \(18, 16\)"),
        (make_images()[None], "an array"),
        (make_images(0), "an array"),
        (np.array([["a"]]), "float images or complex k-space"),
        (np.array([{"a": 1}], dtype=object), "a NumPy array of numbers"),
        (np.full(SHAPE, np.nan + 1j), "finite"),
    ],
)
def test_arrays_that_are_no_scan_are_refused(tmp_path: Path, array: np.ndarray, expected: str):
    path = tmp_path / "scan.npy"
    np.save(path, array, allow_pickle=True)
    with pytest.raises(InputError, match=expected):
        open_scan(str(path), SHAPE, kspace=True)


def test_complex_numbers_are_kspace_only_where_somebody_says_so(tmp_path: Path):
    path = tmp_path / "scan.npy"
    np.save(path, fft2c(torch.from_numpy(make_images())).numpy())
    with pytest.raises(InputError, match="say --kspace"):
        open_scan(str(path), SHAPE)
    assert open_scan(str(path), SHAPE, kspace=True).is_kspace
    assert not open_scan(str(path), SHAPE, magnitude=True).is_kspace


@pytest.mark.parametrize(
    ("name", "data"), [("cut.npy", b"\x93NUMPY\x01"), ("x.png", b"GIF89a"), ("x.dcm", b"1")]
)
def test_files_that_cannot_be_read_are_refused(tmp_path: Path, name: str, data: bytes):
    (tmp_path / name).write_bytes(data)
    for text in (str(tmp_path / name), str(tmp_path / f"absent-{name}")):
        with pytest.raises(InputError):
            open_scan(text, SHAPE)


def test_a_coloured_or_wrongly_sized_png_is_refused(tmp_path: Path):
    path = tmp_path / "x.png"
    Image.fromarray(np.arange(18 * 16 * 3, dtype=np.uint8).reshape(*SHAPE, 3)).save(path)
    with pytest.raises(InputError, match="greyscale"):
        open_scan(str(path), SHAPE)
    Image.new("L", (5000, 5000)).save(path)
    with pytest.raises(InputError, match="5000"):
        open_scan(str(path), SHAPE)


def test_nothing_is_written_when_one_input_of_several_is_bad(
    run: Path, volume: Path, tmp_path: Path
):
    out = tmp_path / "p.csv"
    out.write_text("before")
    assert "no such file" in refusal(call(*choice(run), volume, "absent.npy", "--out", out))
    assert out.read_text() == "before"


def test_a_model_is_a_run_its_checkpoint_folder_or_one_file(run: Path, tmp_path: Path):
    file = next((run / "checkpoints").iterdir())
    found = [flatten(open_arm(p, ArmQuery("uniform-s0")).model) for p in (run, file.parent, file)]
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(InputError, match=r"no checkpoint there|no such file"):
            open_arm(path, ArmQuery("uniform-s0"))


def test_weights_of_an_unfinished_run_are_told(tmp_path: Path, volume: Path):
    run = make_run(tmp_path / "half", round_number=0)
    assert "before any training" in call(*choice(run), volume).stderr
