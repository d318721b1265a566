"""Exported masks: the arm's own, exact in number, the same in every format."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from fl_server.commands.masks import masks_app
from fl_server.inference.mask_export import mask_png, probability_png
from fl_server.inference.trained_arm import open_arm
from infomri_core.inference.inference import ArmQuery
from infomri_core.system.errors import InputError
from tests.support.trained_runs import SHAPE, make_run

app = typer.Typer()
app.add_typer(masks_app, name="masks")
ARM = "infomri-marginal-b0.001-s0"
N_POINTS = SHAPE[0] * SHAPE[1] // 4


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["masks", "export", *(str(a) for a in arguments)])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "knee")


@pytest.fixture(scope="module")
def exported(run: Path) -> Path:
    out = run.parent / "masks"
    result = call("--model", run, "--arm", ARM, "--acceleration", 4, "--count", 2, "--out", out)
    assert result.exit_code == 0, result.output
    assert result.stderr == "drawing: 2 masks\nwriting: 2 masks\n"
    assert [Path(line) for line in result.stdout.splitlines()] == [
        p for p in map(Path, result.stdout.splitlines()) if p.exists()
    ]
    return out


def test_probabilities_are_the_policys_and_their_mean_is_the_ratio(run: Path, exported: Path):
    saved = np.load(exported / f"{ARM}-4x-probability.npy")
    assert saved.dtype == np.float32
    assert saved.mean() == pytest.approx(0.25, abs=1e-6)
    with torch.no_grad():
        expected = open_arm(run, ArmQuery(ARM)).model.sampler.at(0.25).probability
    np.testing.assert_allclose(saved, expected.numpy(), atol=1e-7)


def test_each_mask_samples_exactly_its_budget_and_differs_from_the_next(exported: Path):
    masks = [np.load(exported / f"{ARM}-4x-mask-{i:03d}.npy") for i in range(2)]
    for mask in masks:
        assert mask.shape == SHAPE
        assert set(np.unique(mask)) == {0, 1}
        assert mask.sum() == N_POINTS
    assert (masks[0] != masks[1]).any()


def test_csv_and_png_hold_what_npy_holds(exported: Path):
    mask = np.load(exported / f"{ARM}-4x-mask-000.npy")
    text = np.loadtxt(exported / f"{ARM}-4x-mask-000.csv", delimiter=",", dtype=np.uint8)
    np.testing.assert_array_equal(text, mask)
    pixels = np.asarray(Image.open(exported / f"{ARM}-4x-mask-000.png"))
    zoom = pixels.shape[0] // SHAPE[0]
    assert min(pixels.shape) >= 400
    np.testing.assert_array_equal(pixels[zoom // 2 :: zoom, zoom // 2 :: zoom] > 0, mask > 0)
    probabilities = np.load(exported / f"{ARM}-4x-probability.npy")
    read = np.loadtxt(exported / f"{ARM}-4x-probability.csv", delimiter=",")
    np.testing.assert_allclose(read, probabilities, rtol=1e-5)


def test_the_description_says_what_the_masks_are(exported: Path):
    said = json.loads((exported / f"{ARM}-4x.json").read_text())
    assert said["points"] == [N_POINTS, N_POINTS]
    assert said["zero_frequency"] == [9, 8]
    assert (said["arm"], said["acceleration"], said["seed"]) == (ARM, 4.0, 0)
    assert all(0 <= share <= 1 for share in said["redundancy"])


def test_the_same_seed_gives_the_same_bytes(run: Path, exported: Path, tmp_path: Path):
    call("--model", run, "--arm", ARM, "--acceleration", 4, "--out", tmp_path)
    name = f"{ARM}-4x-mask-000.npy"
    assert (tmp_path / name).read_bytes() == (exported / name).read_bytes()
    call("--model", run, "--arm", ARM, "--acceleration", 4, "--out", tmp_path, "--seed", 1)
    assert (tmp_path / name).read_bytes() != (exported / name).read_bytes()


def test_cartesian_masks_take_whole_columns(tmp_path: Path):
    run = make_run(tmp_path / "run", constraint="1d")
    call("--model", run, "--beta", 0, "--acceleration", 4, "--out", tmp_path)
    mask = np.load(tmp_path / "infomri-s0-4x-mask-000.npy")
    assert (mask == mask[:1]).all()
    assert mask[0].sum() == SHAPE[1] // 4


def test_the_map_of_a_constant_policy_is_one_colour():
    png = probability_png(np.full(SHAPE, 0.25, np.float32), "uniform")
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    assert min(pixels.shape[:2]) >= 400
    middle = pixels[200:400, 200:400].reshape(-1, 3)
    assert (middle == middle[0]).all()


@pytest.mark.parametrize("shape", [(8, 8), (7, 600), (1024, 512)])
def test_pictures_of_masks_are_whole_multiples_of_the_mask(shape: tuple[int, int]):
    picture = Image.open(io.BytesIO(mask_png(np.ones(shape, np.uint8))))
    assert picture.width % shape[1] == 0
    assert picture.height // shape[0] == picture.width // shape[1]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (("--acceleration", 4), "the choice of one arm"),
        (("--arm", ARM, "--acceleration", 64), "between 2 and 20"),
        (("--beta", -1, "--acceleration", 4), "one of the model's arms"),
    ],
)
def test_what_the_model_cannot_serve_is_refused_and_writes_nothing(
    run: Path, tmp_path: Path, choice: tuple[object, ...], expected: str
):
    result = call("--model", run, "--out", tmp_path / "out", *choice)
    assert isinstance(result.exception, InputError)
    assert expected in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_refused(run: Path, tmp_path: Path):
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "masks"
    result = call("--model", run, "--arm", ARM, "--acceleration", 4, "--out", out)
    assert isinstance(result.exception, InputError)
