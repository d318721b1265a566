"""``infomri init``: what it writes is read by study centre, hospital and trainer as it stands."""

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from fl_client.settings import read_settings as site_settings
from fl_server.cli import app
from fl_server.settings import read_settings
from infomri_core.data import open_dataset
from infomri_core.plan.reading import read_plan
from infomri_core.system.errors import InputError


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """An archive of three hospitals, in the folder where the user stands."""
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / "knees.h5", "w") as file:
        file["image"] = rng.random((90, 24, 20)).astype(np.float32)
        file["patient"] = [f"p{i}" for i in range(90)]
        file["label"] = (np.arange(90) % 2).astype(np.uint8)
        file["label"].attrs["names"] = ["tear"]
        file["hospital"] = [("north", "south", 'ea"st')[i % 3] for i in range(90)]
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_files_fit_the_data_and_each_other(archive):
    done = CliRunner().invoke(app, ["init", "my study", "--data", "slices:knees.h5"])
    assert done.exit_code == 0, done.exception
    folder = archive / "my study"
    plan = read_plan(folder / "plan.toml")
    assert (plan.study.name, plan.task.shape, plan.training.quorum) == ("my-study", (24, 20), 3)
    sites = [site_settings(path) for path in sorted((folder / "sites").glob("*.toml"))]
    assert {s.site.name for s in sites} == {"site-1", "north", "south"}
    tables = [open_dataset(s.data.uri).table for s in sites]
    audit = open_dataset(read_settings(folder / "centre.toml").audit.data).table
    assert all(plan.task.mismatch(open_dataset(s.data.uri)) is None for s in sites)
    everybody = [set(map(str, t.patients)) for t in [*tables, audit]]
    assert sum(map(len, everybody)) == len(set.union(*everybody))
    assert "infomri train" in done.stdout and "training.rounds=1" in done.stdout


def test_a_folder_with_files_is_left_alone(archive):
    refused = CliRunner().invoke(app, ["init", "."])
    assert isinstance(refused.exception, InputError)
    assert not (archive / "plan.toml").exists()


def test_phantoms_need_no_data(tmp_path):
    assert CliRunner().invoke(app, ["init", str(tmp_path / "0new")]).exit_code == 0
    assert read_plan(tmp_path / "0new" / "plan.toml").study.name == "0new"
    assert len(list((tmp_path / "0new" / "sites").iterdir())) == 3
