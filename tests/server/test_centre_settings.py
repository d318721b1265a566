"""``centre.toml``: strict, helpful, and relative to itself."""

from pathlib import Path

import pytest

from fl_server.settings import read_settings
from infomri_core.system.errors import InputError


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_paths_are_relative_to_the_file(tmp_path: Path):
    text = """
    [audit]
    data = "slices:images/a.h5?hospital=H1"
    [centre]
    directory = "studies"
    [mlflow]
    tracking_uri = "sqlite:///store/mlflow.db"
    artifacts = "/var/artifacts"
    """
    settings = read_settings(write(tmp_path / "centre.toml", text))
    assert settings.audit.data == f"slices:{tmp_path}/images/a.h5?hospital=H1"
    assert settings.centre.directory == tmp_path / "studies"
    assert settings.tracking_uri == f"sqlite:///{tmp_path}/store/mlflow.db"
    assert settings.artifacts == Path("/var/artifacts")


def test_an_audit_set_is_all_that_must_be_said(tmp_path: Path):
    settings = read_settings(write(tmp_path / "centre.toml", '[audit]\ndata = "phantom:?seed=1"'))
    assert settings.audit.data == "phantom:?seed=1"
    assert settings.tracking_uri == f"sqlite:///{tmp_path}/runs/mlflow.db"
    assert settings.artifacts == tmp_path / "runs" / "artifacts"


def test_servers_and_absolute_stores_stay_as_they_are(tmp_path: Path):
    for uri in ("http://mlflow:5000", "sqlite:////srv/mlflow.db"):
        text = f'[audit]\ndata = "phantom:"\n[mlflow]\ntracking_uri = "{uri}"'
        assert read_settings(write(tmp_path / "centre.toml", text)).tracking_uri == uri


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "the key 'audit'"),
        ('[audit]\ndata = "phantom"', "data URI"),
        ('[audit]\ndata = "phantom:"\nunet_step = 3', "did you mean 'unet_steps'"),
        ('[audit]\ndata = "phantom:"\ncnn_steps = 0', "at least 1"),
        ('[audit]\ndata = "phantom:"\n[centre]\ndevice = "tpu"', "auto"),
        ('[audit]\ndata = "phantom:"\n[centre]\nthreads = -1', "0 or more"),
        ("[audit", "valid TOML"),
    ],
)
def test_bad_settings_say_what_to_mend(tmp_path: Path, text: str, expected: str):
    with pytest.raises(InputError, match=expected):
        read_settings(write(tmp_path / "centre.toml", text))


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(InputError, match="no such file"):
        read_settings(tmp_path / "centre.toml")
