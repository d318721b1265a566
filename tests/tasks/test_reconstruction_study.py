"""A study of reconstruction, federated, private and masked; and what is done with its arms."""

import csv
import io
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
import tomli_w
import torch
from PIL import Image
from typer.testing import CliRunner

from dashboard.reading import single_scan
from dashboard.reading.trained_study import TrainedStudy
from fl_server.cli import app
from fl_server.demo.plan import DemoOptions, design
from infomri_core.arms.build import build_model
from infomri_core.attacks.registry import build as build_attack
from infomri_core.audit.adversaries import Adversaries
from infomri_core.data import open_dataset
from infomri_core.inference.origin import read_volume
from infomri_core.inference.reconstruct import check_rebuilds
from infomri_core.inference.scans import Scan, open_scan
from infomri_core.physics.images import psnr
from infomri_core.physics.kspace import zero_fill
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from infomri_core.randomness.seeds import torch_generator
from infomri_core.results.frontier import Row, read_results
from infomri_core.results.metric_names import metrics_of, rows_of
from infomri_core.results.table import table
from infomri_core.site.site import open_site
from infomri_core.summaries.posterior_summary import LIMITS
from infomri_core.system.errors import InputError
from infomri_core.tasks.reconstruction import Reconstruction
from tests.support.hospital_files import SAGITTAL, Series
from tests.support.securesites import federation
from tests.support.small import AUDIT_URI, SilentTracker, site_uri, small_table, study

TASK = Reconstruction((32, 32))
ARMS = [{"sampler": name, "beta": "-inf"} for name in ("infomri", "uniform")]
FIGURES = {f"image_{name}" for name in LIMITS}


def plan_of(**sections: Any) -> Plan:
    made = small_table(rounds=1, local_steps=2)
    made["task"] = {"kind": "reconstruction", "shape": [32, 32]}
    return parse_plan(tomli_w.dumps(made | {"arms": ARMS} | sections))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Row], str]:
    """A federation of four vaults under DP-SGD, secure aggregation and noise, over its real
    courier: the run's folder, its rows, and what went out and came back in words."""
    folder = tmp_path_factory.mktemp("reconstruction")
    training = {"rounds": 1, "local_steps": 2, "batch_size": 8, "quorum": 3}
    plan = plan_of(
        training=training | {"deadline_seconds": 600.0},
        aggregation={"secure": True},
        privacy={"noise_multiplier": 0.5, "rate": 0.3, "lot": 4, "losses": True},
        evaluation={"attacks": ["lmmse", "cnn"], "attack_slices": 1, "epsilon": 1000.0},
    )
    with federation(folder / "sites", plan, policy={"image_arms": True}) as made:
        for name in made.names:
            data = open_dataset(site_uri(name))
            secret = f"the whole secret of site {name}"
            made.drawn[name] = open_site(data, name, folder / name, "cpu", secret)
            made.drawn[name].table = data.table
            made.start(name)
        rows = study(plan, made.sites, folder, SilentTracker()).run()
        kinds = made.kinds(made.names[0])
    return folder / "run", rows, " ".join(kinds)


def test_it_is_trained_federated_private_and_masked(finished: tuple[Path, list[Row], str]) -> None:
    directory, rows, kinds = finished
    assert "masked" in kinds and "trained" not in kinds
    assert all(row.epsilon and row.beta == -math.inf for row in rows)
    again, meta = read_results(directory / "results.json")
    assert again == rows and set(meta["rounds"][0]["losses"][rows[0].arm]) == {"nll", "entropy"}


def test_it_is_audited_and_read_by_its_own_figures(finished: tuple[Path, list[Row], str]) -> None:
    _, rows, _ = finished
    for row in rows:
        assert set(row.figures) >= FIGURES and row.utility.low < row.utility.high
        assert row.psnr and row.psnr_prior is not None and row.psnr_answer is None
        (again,) = rows_of(replace(row, figures={}), metrics_of(row))
        assert set(again.figures) >= FIGURES
    printed = table(rows).csv()
    assert "reconstruction PSNR" in printed and "AUROC" not in printed


def test_the_report_says_that_its_arms_ask_for_images(
    finished: tuple[Path, list[Row], str],
) -> None:
    directory, _, _ = finished
    report = (directory / "privacy-report.html").read_text(encoding="utf-8")
    assert "reconstruction PSNR" in report and "trained to rebuild images" in report


def test_zero_filling_is_scored_as_what_it_is() -> None:
    """Its PSNR at a site is that of the formula on the same measurements."""
    plan = plan_of(model={"width": 4, "reconstructor": "zero-filled"})
    model = build_model(plan, plan.arms[1])
    images = open_dataset(AUDIT_URI).images(np.arange(6))
    masks = model.draw(0.25, 6, torch_generator(1, "m"))
    y = model.measure(images, masks, torch_generator(1, "n"))
    evidence = TASK.evidence(model.output(y, masks), images)
    expected = psnr(zero_fill(y).abs(), images)
    assert torch.allclose(evidence[:, 0], expected.float(), atol=1e-4)


def test_its_arm_rebuilds_a_scan_from_the_command_line(
    finished: tuple[Path, list[Row], str], tmp_path: Path
) -> None:
    directory, rows, _ = finished
    scan, out = tmp_path / "knee.npy", tmp_path / "out"
    images = open_dataset(AUDIT_URI).images(np.arange(3)).numpy()
    np.save(scan, images)
    words = [str(scan), str(scan), "--model", str(directory), "--arm", rows[0].arm]
    asked = ["reconstruct", *words, "--acceleration", "4", "--out", str(out)]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    table_ = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [(row["slice"], row["points"]) for row in table_] == [
        ("0", "256"),
        ("1", "256"),
        ("2", "256"),
    ] * 2
    mean, deviation = (np.load(out / f"knee-{part}.npy") for part in ("mean", "deviation"))
    assert mean.shape == deviation.shape == images.shape and (deviation > 0).all()
    scaled = next(open_scan(str(scan), (32, 32)).batches()).numpy()
    reached = -10 * np.log10(((mean - scaled) ** 2).mean((1, 2)))
    assert [float(row["psnr"]) for row in table_[:3]] == pytest.approx(list(reached), abs=0.01)
    expected = -10 * np.log10((deviation**2).mean((1, 2)))
    told = [float(row["expected_psnr"]) for row in table_[:3]]
    assert told == pytest.approx(list(expected), abs=0.01)
    assert np.array_equal(np.load(out / "knee-2-mean.npy"), mean)
    for name in ("mean", "deviation", "picture"):
        with Image.open(out / f"knee-001-{name}.png") as picture:
            assert picture.size[0] >= 32


def test_a_series_of_dicom_is_rebuilt_in_its_place_and_names_nobody(
    finished: tuple[Path, list[Row], str], tmp_path: Path
) -> None:
    directory, rows, _ = finished
    Series("A1", n=2, shape=(32, 32), orientation=SAGITTAL).write(tmp_path / "in")
    out = tmp_path / "out"
    words = ["reconstruct", str(tmp_path / "in"), "--model", str(directory), "--arm", rows[0].arm]
    done = CliRunner().invoke(app, [*words, "--acceleration", "4", "--out", str(out)])
    assert done.exit_code == 0, done.output
    _, origin = read_volume(tmp_path / "in")
    for part in ("mean", "deviation"):
        slices = np.load(out / f"in-{part}.npy")
        expected, affine = origin.placed(slices)
        stored = nibabel.load(out / f"in-{part}.nii.gz")
        np.testing.assert_array_equal(stored.get_fdata(dtype=np.float32), expected)
        np.testing.assert_allclose(stored.affine, affine)
        for number in range(2):
            one = pydicom.dcmread(out / "in-dicom" / f"{part}-{number:03d}.dcm")
            values = one.pixel_array * float(one.RescaleSlope)
            whole = origin.undone(np.maximum(slices, 0))[number]
            np.testing.assert_allclose(values, whole, atol=slices.max() / 4e4)
            assert one.PatientID == "" and one.PatientIdentityRemoved == "YES"


def test_diagnose_prints_the_psnr_that_is_expected(
    finished: tuple[Path, list[Row], str], tmp_path: Path
) -> None:
    directory, rows, _ = finished
    np.save(tmp_path / "scan.npy", open_dataset(AUDIT_URI).images(np.arange(2)).numpy())
    words = ["diagnose", str(tmp_path / "scan.npy"), "--model", str(directory)]
    done = CliRunner().invoke(
        app, [*words, "--beta", "-inf", "--sampler", "infomri", "--acceleration", "4"]
    )
    assert done.exit_code == 0, done.output
    (first, *_) = csv.DictReader(io.StringIO(done.stdout))
    assert 0 < float(first["value_expected PSNR"]) < 60 and first["arm"] == rows[0].arm


def test_an_arm_that_rebuilds_nothing_is_refused(tmp_path: Path) -> None:
    plan = parse_plan(tomli_w.dumps(small_table()))
    with pytest.raises(InputError, match="an arm that rebuilds images"):
        check_rebuilds(build_model(plan, plan.arms[1]))


def test_the_dashboard_shows_what_the_arm_itself_rebuilds() -> None:
    plan = plan_of()
    arm = plan.arms[1].name
    model = build_model(plan, plan.arms[1]).eval()
    adversaries = Adversaries({"tv": build_attack("tv", (32, 32))})
    seen = TrainedStudy(plan, None, {arm: model}, adversaries)  # type: ignore[arg-type]
    scan = Scan("x", open_dataset(AUDIT_URI).images(np.arange(2)).numpy(), 1.0, "")
    trial = single_scan.run(seen, scan, 1, arm, 4.0, "tv", 1, seed=0)
    assert trial.images is not None
    assert np.array_equal(trial.images.truth[0], scan.source[1])
    assert np.array_equal(trial.images.mask[0], trial.mask)
    assert trial.images.deviation.shape == (1, 32, 32)


def test_a_demo_of_it_has_arms_that_ask_for_images_and_sites_that_allow_them() -> None:
    made = design("phantom:", DemoOptions(task="reconstruction"))
    plan = parse_plan(made.plan)
    assert all(arm.asks_for_images for arm in plan.arms) and len(plan.arms) == 3
    assert not any(
        arm.asks_for_images for arm in parse_plan(design("phantom:", DemoOptions()).plan).arms
    )
    assert parse_plan(design("phantom:", DemoOptions(task="regression")).plan).task.serves(0.0)
