"""A study of segmentation, from enrolment to the report: private, masked and audited."""

from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from typer.testing import CliRunner

from fl_server.cli import app
from fl_server.demo.plan import DemoOptions, design
from fl_server.inference.trained_arm import read_model
from fl_server.sites.local import LocalSites
from fl_server.study.failure import StudyFailed
from fl_server.study.study import Study
from infomri_core.data import open_dataset
from infomri_core.inference.inference import deployed_weights, restore
from infomri_core.inference.origin import read_volume
from infomri_core.physics.kspace import fft2c
from infomri_core.plan.reading import parse_plan
from infomri_core.results.frontier import Row, read_results
from infomri_core.results.table import table
from infomri_core.site.site import Site, open_site
from infomri_core.system.errors import InputError
from tests.support.hospital_files import SAGITTAL, Series
from tests.support.securesites import federation
from tests.support.small import SilentTracker
from tests.support.small import settings as own_settings
from tests.tasks.test_segmentation import DISCS, TASK, plan_of


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Row], str]:
    """A federation of four vaults under DP-SGD, secure aggregation and noise, over its real
    courier: the run's folder, its rows, and what went out and came back in words."""
    folder = tmp_path_factory.mktemp("segmentation")
    training = {"rounds": 1, "local_steps": 1, "batch_size": 4, "quorum": 3}
    plan = plan_of(
        training=training | {"deadline_seconds": 600.0},
        aggregation={"secure": True},
        privacy={"noise_multiplier": 0.5, "rate": 0.1, "lot": 4, "losses": True},
        measurement={"ratio_range": [0.1, 0.3], "accelerations": [4.0]},
    )
    with federation(folder / "sites", plan) as made:
        for number, name in enumerate(made.names):
            data = open_dataset(DISCS.format(10, number, name, 3))
            made.drawn[name] = open_site(
                data, name, folder / name, "cpu", f"the whole secret of site {name}"
            )
            made.drawn[name].table = data.table
            made.start(name)
        audit = open_dataset(DISCS.format(10, 9, "centre", 3))
        rows = Study(
            *(plan, own_settings(folder), made.sites, audit, folder / "run", SilentTracker()),
            torch.device("cpu"),
        ).run()
        kinds = made.kinds(made.names[0])
    return folder / "run", rows, " ".join(kinds)


def test_it_is_trained_private_and_masked_and_audited(
    finished: tuple[Path, list[Row], str],
) -> None:
    directory, rows, kinds = finished
    assert "masked" in kinds and "trained" not in kinds
    again, meta = read_results(directory / "results.json")
    assert again == rows
    assert set(meta["rounds"][0]["losses"][rows[0].arm]) == {"nll", "kl", "image", "entropy"}
    for row in rows:
        assert row.epsilon and {"agreement", "dsc"} <= set(row.figures)
        assert row.utility.low < row.utility.high and row.psnr_answer is not None
        assert "1 - GED" in table(rows).csv()
    report = (directory / "privacy-report.html").read_text(encoding="utf-8")
    assert "1 - GED" in report and "AUROC (95 %)" not in report


def test_a_hospital_that_allows_no_arms_for_images_takes_no_part(tmp_path: Path) -> None:
    """beta < 0 asks for the image: vaults without ``image_arms`` refuse before a row is read."""
    arms = [{"sampler": "uniform"}, {"sampler": "uniform", "seed": 1, "beta": -1.0}]
    training = {"rounds": 1, "local_steps": 1, "batch_size": 4, "quorum": 3}
    plan = plan_of(arms=arms, training=training | {"deadline_seconds": 600.0})
    with federation(tmp_path / "sites", plan) as made:
        for name in made.names:
            made.start(name)
        audit = open_dataset(DISCS.format(10, 9, "centre", 3))
        told = SilentTracker()
        given = (plan, own_settings(tmp_path), made.sites, audit, tmp_path / "run", told)
        with pytest.raises(StudyFailed):
            Study(*given, torch.device("cpu")).run()
        events = (tmp_path / "run" / "events.jsonl").read_text(encoding="utf-8")
    assert "image_arms" in events and "trained to rebuild images" in events


def test_its_arm_outlines_a_scan(finished: tuple[Path, list[Row], str], tmp_path: Path) -> None:
    directory, rows, _ = finished
    scan, out = tmp_path / "scan.npy", tmp_path / "out"
    np.save(scan, open_dataset(DISCS.format(4, 8, "visitor", 2)).images(np.arange(3)).numpy())
    words = ["segment", str(scan), "--model", str(directory), "--arm", rows[0].arm]
    words += ["--acceleration", "4", "--samples", "5", "--out", str(out), "--nifti"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    samples, probability, entropy = (
        np.load(out / f"scan-00-4x-{name}.npy") for name in ("samples", "probability", "entropy")
    )
    assert samples.shape == (3, 5, 32, 32) and set(np.unique(samples)) <= {0, 1}
    assert probability.shape == (3, 1, 32, 32) and entropy.shape == (3, 32, 32)
    p = probability[:, 0].clip(1e-9, 1 - 1e-9)
    expected = -(p * np.log(p) + (1 - p) * np.log(1 - p))
    np.testing.assert_allclose(entropy, expected, atol=1e-4)
    labels = nibabel.load(out / "scan-00-4x-labels.nii.gz").get_fdata()
    assert np.array_equal(np.moveaxis(labels, -1, 0), probability[:, 0] > 0.5)
    assert (out / "scan-00-4x-002.png").read_bytes().startswith(b"\x89PNG")
    refused = CliRunner().invoke(app, [*words, "--samples", "0"])
    assert refused.exit_code and "samples" in str(refused.exception or refused.output)


def test_a_series_of_dicom_is_outlined_in_its_place(
    finished: tuple[Path, list[Row], str], tmp_path: Path
) -> None:
    directory, rows, _ = finished
    Series("A1", n=3, shape=(32, 32), orientation=SAGITTAL).write(tmp_path / "in")
    out = tmp_path / "out"
    words = ["segment", str(tmp_path / "in"), "--model", str(directory), "--arm", rows[0].arm]
    words += ["--acceleration", "4", "--samples", "5", "--out", str(out), "--keep-identity"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    _, origin = read_volume(tmp_path / "in")
    probability = np.load(out / "scan-00-4x-probability.npy")
    expected, affine = origin.placed(np.moveaxis(probability, 1, -1))
    stored = nibabel.load(out / "scan-00-4x-probability.nii.gz")
    np.testing.assert_array_equal(stored.get_fdata(dtype=np.float32), expected)
    np.testing.assert_allclose(stored.affine, affine)
    labels = nibabel.load(out / "scan-00-4x-labels.nii.gz").get_fdata()
    assert (out / "scan-00-4x-entropy.nii.gz").is_file()
    made = out / "scan-00-4x-segmentation.dcm"
    assert made.is_file() == labels.any()
    if made.is_file():
        assert pydicom.dcmread(made).pixel_array.sum() == labels.sum()


def test_what_is_deployed_says_the_same_with_fewer_weights(
    finished: tuple[Path, list[Row], str],
) -> None:
    saved = read_model(finished[0])
    plan = parse_plan(saved.plan_text)
    flat = np.asarray(saved.arms[plan.arms[0].name])
    less = deployed_weights(plan, plan.arms[0], flat)
    assert len(less) < 0.8 * len(flat)
    y = fft2c(open_dataset(DISCS.format(4, 8, "visitor", 2)).images(np.arange(2)))
    whole, part = (restore(plan, plan.arms[0], weights).output(y) for weights in (flat, less))
    assert torch.equal(whole, part)


def test_the_demo_shows_it_and_says_what_it_cannot_show() -> None:
    made = design("phantom:", DemoOptions(task="segmentation", rounds=2))
    plan = parse_plan(made.plan)
    data = [open_dataset(uri) for uri in made.sites.values()]
    assert len(data) == 3 == plan.training.quorum and plan.training.rounds == 2
    assert all(plan.task.mismatch(d) is None for d in [*data, open_dataset(made.audit)])
    with pytest.raises(InputError, match="segmentation"):
        design("phantom:", DemoOptions(task="segmentatoin"))


def test_exact_scores_leave_in_groups_with_intervals(tmp_path: Path) -> None:
    plan = plan_of(
        evaluation={"attacks": ["lmmse"], "attack_slices": 1, "noise": False},
        measurement={"ratio_range": [0.1, 0.3], "accelerations": [4.0]},
        arms=[{"sampler": "uniform", "beta": -1.0}],
    )
    data = [open_dataset(DISCS.format(60, n, name, 3)) for n, name in enumerate("ab")]
    sites = LocalSites([Site(d, n, tmp_path / n) for d, n in zip(data, "ab")])
    audit = open_dataset(DISCS.format(10, 9, "centre", 3))
    rows = Study(
        *(plan, own_settings(tmp_path), sites, audit, tmp_path / "run", SilentTracker()),
        torch.device("cpu"),
    ).run()
    assert rows[0].utility.n_groups and set(rows[0].figures) == {f.name for f in TASK.figures}
    losses = read_results(tmp_path / "run" / "results.json")[1]["rounds"][0]["losses"]
    assert next(iter(losses.values()))["image"] != 0
