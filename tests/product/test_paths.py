"""What a person types of a path is found where he stands, and in a file where the file lies."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_client.settings import read_settings as read_site
from fl_server.demo.plan import DemoOptions, design
from fl_server.settings import read_settings as read_centre
from infomri_core.data import open_dataset
from infomri_core.system.paths import anchored_here, anchored_uri

_NAMES = st.text("abc -_.é", min_size=1, max_size=8).filter(lambda name: name.strip(". "))


def archive(path: Path, n_patients: int = 12, hospital: str = "") -> None:
    """A slice archive of random 8x8 images, one slice a patient."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file["image"] = rng.random((n_patients, 8, 8), dtype=np.float32) + 0.1
        file["label"] = (np.arange(n_patients) % 2).astype(np.uint8)[:, None]
        file["patient"] = [f"p{i}" for i in range(n_patients)]
        file["split"] = ["val" if i % 4 < 2 else "train" for i in range(n_patients)]
        if hospital:
            file["hospital"] = [f"{hospital} {i % 2}" for i in range(n_patients)]


@given(_NAMES, _NAMES)
def test_anchoring_joins_once_and_then_changes_nothing(folder: str, name: str) -> None:
    base = Path("/data") / folder
    once = anchored_uri(f"slices:{name}?split=val", base)
    assert once == f"slices:{base / name}?split=val"
    assert anchored_uri(once, Path("/elsewhere")) == once


@pytest.mark.parametrize("uri", ["phantom:", "phantom:?seed=1", "knees.h5", "", "slices:"])
def test_what_has_no_path_stays_as_it_is(uri: str) -> None:
    assert anchored_uri(uri, Path("/base")) == uri


def test_a_table_is_anchored_only_where_it_lies_beside_the_person(tmp_path: Path) -> None:
    folder = tmp_path / "knees"
    folder.mkdir()
    (tmp_path / "own table.csv").touch()
    (folder / "inside.csv").touch()
    (tmp_path / "inside.csv").touch()
    uri = "fastmri:knees?labels=own%20table.csv&files=inside.csv&size=64"
    expected = f"labels={tmp_path}/own%20table.csv&files=inside.csv&size=64"
    assert anchored_uri(uri, tmp_path) == f"fastmri:{folder}?{expected}"


def test_the_demo_of_a_relative_archive_opens_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive(tmp_path / "knees.h5", 24, "north & east,")
    monkeypatch.chdir(tmp_path)
    study = design(anchored_here("slices:knees.h5"), DemoOptions())
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert set(study.sites) == {"north & east, 0", "north & east, 1"}
    for uri in (*study.sites.values(), study.audit):
        assert len(open_dataset(uri))


def test_files_of_settings_name_data_beside_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kit").mkdir()
    site, centre = tmp_path / "kit" / "site.toml", tmp_path / "kit" / "centre.toml"
    site.write_text(
        '[site]\nname = "north"\n[superlink]\naddress = "here:1"\ninsecure = true\n'
        '[data]\nuri = "slices:../knees.h5"\n[datasets.other]\nuri = "mnist:digits.npz"\n'
    )
    centre.write_text(
        '[audit]\ndata = "slices:../knees.h5"\n[mlflow]\ntracking_uri = "sqlite:///m.db"\n'
    )
    monkeypatch.chdir(tmp_path)
    read, own = read_site(Path("kit/site.toml")), read_centre(Path("kit/centre.toml"))
    assert read.data.uri == own.audit.data == f"slices:{tmp_path}/kit/../knees.h5"
    assert read.datasets["other"].uri == f"mnist:{tmp_path}/kit/digits.npz"
    assert own.tracking_uri == f"sqlite:///{tmp_path}/kit/m.db"
