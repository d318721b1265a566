"""Laws of site.toml: paths are relative to the file, and a slip is named."""

from pathlib import Path

import pytest

from fl_client.settings import read_settings
from infomri_core.system.errors import InputError

TEXT = """
[site]
name = "north"
[superlink]
address = "centre.example:9092"
root_certificate = "ca.crt"
node_key = "keys/north"
[data]
uri = "slices:data/knee.h5?hospital=H1"
[policy]
min_cohort = 3
"""


def write(folder: Path, text: str = TEXT) -> Path:
    path = folder / "site.toml"
    path.write_text(text)
    return path


def test_relative_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    settings = read_settings(write(tmp_path))
    assert settings.superlink.root_certificate == tmp_path / "ca.crt"
    assert settings.superlink.node_key == tmp_path / "keys/north"
    assert settings.data.uri == f"slices:{tmp_path}/data/knee.h5?hospital=H1"
    assert settings.vault.state == tmp_path / "state"
    assert settings.vault.socket_path == tmp_path / "state/run/vault.sock"
    assert settings.policy.min_cohort == 3


def test_absolute_paths_and_pathless_data_stay(tmp_path: Path) -> None:
    uri = "phantom:?patients=24"
    text = TEXT.replace("ca.crt", "/etc/ca.crt").replace("slices:data/knee.h5?hospital=H1", uri)
    settings = read_settings(write(tmp_path, text))
    assert settings.superlink.root_certificate == Path("/etc/ca.crt")
    assert settings.data.uri == uri


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("min_cohort = 3", "min_cohorts = 3", "min_cohort'"),
        ("min_cohort = 3", "min_cohort = 0", "at least 1"),
        ("min_cohort = 3", "max_job_seconds = nan", "at least 1"),
        ("min_cohort = 3", 'approvals = "none"', "any or listed"),
        ("min_cohort = 3", "report_budget = true", "max_epsilon: expected a budget"),
        ("min_cohort = 3", "report_budget = 1", "of type bool"),
        ("min_cohort = 3", 'jobs = ["download"]', "names out of enrol"),
        ('name = "north"', 'name = "../north"', "letters, digits"),
        ("centre.example:9092", "centre.example", "host:port"),
        ('root_certificate = "ca.crt"', "", "insecure = true"),
        ("slices:data", "data", "scheme:path"),
    ],
)
def test_a_slip_is_refused_with_what_was_expected(
    tmp_path: Path, old: str, new: str, named: str
) -> None:
    assert old in TEXT
    with pytest.raises(InputError, match=named):
        read_settings(write(tmp_path, TEXT.replace(old, new)))


def test_an_unknown_group_is_named(tmp_path: Path) -> None:
    settings = read_settings(write(tmp_path, TEXT + '[vault]\ngroup = "no-such-group"\n'))
    with pytest.raises(InputError, match="no-such-group"):
        _ = settings.vault.group_id
