"""Files made to read other files, or to fill memory and disk: every reader refuses them."""

import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from infomri_core.data import open_dataset
from infomri_core.data.checking.columns import read_columns
from infomri_core.data.hdf5.guarded import open_hdf5
from infomri_core.data.hdf5.limits import VARIABLE, limit_bytes
from infomri_core.data.importing.choice import Choice
from infomri_core.data.importing.formats.ismrmrd.scan import scan_ismrmrd
from infomri_core.data.importing.patients import PatientRule
from infomri_core.data.importing.volume import Journal, Left
from infomri_core.inference.scans import open_scan
from infomri_core.system.errors import InputError
from tests.support.raw_data import Raw, volume

N, SIDE = 4, 8
PROJECT = Path(__file__).parents[2]
Change = Callable[[h5py.File, str, Path], None]


def secret(folder: Path) -> Path:
    """Another file on the machine, which nobody offered."""
    path = folder / "secret.bin"
    path.write_bytes(bytes(range(1, 65)) * 64)
    return path


def external_storage(file: h5py.File, name: str, folder: Path) -> None:
    old = file[name]
    shape, dtype = old.shape, old.dtype
    del file[name]
    where = [(str(secret(folder)), 0, 1 << 12)]
    file.create_dataset(name, shape, dtype, external=where)


def external_link(file: h5py.File, name: str, folder: Path) -> None:
    with h5py.File(folder / "other.h5", "w") as other:
        file.copy(name, other, "x")
    del file[name]
    file[name] = h5py.ExternalLink(str(folder / "other.h5"), "/x")


def soft_link_through_an_external_one(file: h5py.File, name: str, folder: Path) -> None:
    external_link(file, name, folder)
    file.move(name, "away")
    file[name] = h5py.SoftLink("/away")


def virtual(file: h5py.File, name: str, folder: Path) -> None:
    shape, dtype = file[name].shape, file[name].dtype
    with h5py.File(folder / "other.h5", "w") as other:
        file.copy(name, other, "x")
    del file[name]
    layout = h5py.VirtualLayout(shape, dtype)
    layout[...] = h5py.VirtualSource(str(folder / "other.h5"), "x", shape)
    file.create_virtual_dataset(name, layout)


def never_written(file: h5py.File, name: str, folder: Path) -> None:
    """A kilobyte that asks for 76 GiB."""
    dtype = file[name].dtype
    del file[name]
    shape = (N, 16384, 8 * 10**10 // (16384 * N * dtype.itemsize))
    file.create_dataset(name, shape, dtype, chunks=(1, 64, 64))


def swollen_chunk(file: h5py.File, name: str, folder: Path) -> None:
    """Chunks that are declared small and unpack to 64 MiB."""
    shape, dtype = file[name].shape, file[name].dtype
    del file[name]
    made = file.create_dataset(name, shape, dtype, chunks=shape, compression=1)
    made.id.write_direct_chunk((0,) * len(shape), zlib.compress(bytes(64 << 20), 9))


def twice_packed(file: h5py.File, name: str, folder: Path) -> None:
    values = file[name][:]
    del file[name]
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk(values.shape)
    for _ in range(2):
        plist.set_deflate(9)
    space, kind = h5py.h5s.create_simple(values.shape), h5py.h5t.py_create(values.dtype)
    made = h5py.h5d.create(file.id, name.encode(), kind, space, plist)
    made.write(h5py.h5s.ALL, h5py.h5s.ALL, values)


ATTACKS: tuple[Change, ...] = (
    external_storage,
    external_link,
    soft_link_through_an_external_one,
    virtual,
    never_written,
    swollen_chunk,
    twice_packed,
)


def slices(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file["image"] = np.random.default_rng(0).integers(1, 99, (N, SIDE, SIDE)).astype(np.uint16)
        file["patient"] = np.arange(N)
        file["label"] = np.array([0, 1, 0, 1], dtype=np.uint8)
    return path


def fastmri(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file["kspace"] = (rng.normal(size=(N, SIDE, SIDE)) + 1j).astype(np.complex64)
        file.attrs["patient_id"] = "a"
    return path


def read_back(path: Path, limit_gib: float = 0.0) -> None:
    with open_hdf5(path, limit_gib) as file:
        for name in file.names():
            file.array(name)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("column", ["image", "label", "patient"])
def test_slice_archives_lead_nowhere_else(tmp_path: Path, attack: Change, column: str) -> None:
    path = slices(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        attack(file, column, tmp_path)
    with pytest.raises(InputError):
        open_dataset(f"slices:{path}")
    if column == "label":
        assert any("label" in defect for defect in read_columns(path).defects)
    else:
        with pytest.raises(InputError):
            read_columns(path)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("name", ["image", "kspace"])
def test_a_scan_to_diagnose_leads_nowhere_else(tmp_path: Path, attack: Change, name: str) -> None:
    """What the dashboard does with a file that somebody dropped on it."""
    path = slices(tmp_path / "a.h5") if name == "image" else fastmri(tmp_path / "k.h5")
    with h5py.File(path, "r+") as file:
        attack(file, name, tmp_path)
    with pytest.raises(InputError):
        open_scan(str(path), (SIDE, SIDE))


@pytest.mark.parametrize("attack", ATTACKS)
def test_fastmri_volumes_lead_nowhere_else(tmp_path: Path, attack: Change) -> None:
    with h5py.File(fastmri(tmp_path / "in" / "a.h5"), "r+") as file:
        attack(file, "kspace", tmp_path)
    with pytest.raises(InputError):
        open_dataset(f"fastmri:{tmp_path / 'in'}?size=8")


@pytest.mark.parametrize("attack", [external_link, soft_link_through_an_external_one])
@pytest.mark.parametrize("name", ["dataset/data", "dataset/xml", "dataset"])
def test_raw_data_lead_nowhere_else(tmp_path: Path, attack: Change, name: str) -> None:
    path = Raw(tmp_path / "a.h5", volume(1)).measured().write()
    with h5py.File(path, "r+") as file:
        attack(file, name, tmp_path)
    journal = Journal()
    assert scan_ismrmrd(path, Choice(), PatientRule(), journal, lambda: None) == []
    assert sum(journal.skipped.values()) == 1


def test_a_raw_header_cannot_ask_for_more_than_its_readouts(tmp_path: Path) -> None:
    raw = Raw(tmp_path / "a.h5", volume(1), wide=8192, wide_mm=4096, x=8192, x_mm=4096, y=8192)
    path = raw.measured().write()
    for found in scan_ismrmrd(path, Choice(), PatientRule(), Journal(), lambda: None):
        assert all(isinstance(one, Left) for one in found.read(tmp_path))
    assert not (tmp_path / "kspace.raw").exists()


def test_references_and_deep_types_are_refused(tmp_path: Path) -> None:
    path = slices(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        file["refs"] = np.array([file["image"].ref], dtype=h5py.ref_dtype)
        fields = np.dtype([("r", h5py.ref_dtype), ("n", "i4")])
        file.create_dataset("compound", (2,), fields)
        file.create_dataset("vlen", (2,), h5py.vlen_dtype(h5py.ref_dtype))
        file.create_dataset("wide", (2,), "S2000000000", chunks=(1,))
    with open_hdf5(path, 0.5) as opened:
        for name in ("refs", "compound", "vlen", "wide"):
            with pytest.raises(InputError):
                opened.dataset(name)


def test_words_that_share_one_long_text_do_not_fill_the_memory(tmp_path: Path) -> None:
    """A variable-length column names its texts: 4096 rows can name one text of any length."""
    path, long = slices(tmp_path / "a.h5"), "x" * (1 << 20)
    with h5py.File(path, "r+") as file:
        del file["patient"]
        file["patient"] = np.array([long] * N, dtype=h5py.string_dtype())
    with pytest.raises(InputError, match="longer ones"):
        open_dataset(f"slices:{path}")
    with open_hdf5(path, 0.004) as opened:
        assert opened.rows_at_once() == 1


def test_attributes_are_bounded_and_typed(tmp_path: Path) -> None:
    path = slices(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        file["label"].attrs.create("names", np.array(["n"] * 4000, dtype=h5py.string_dtype()))
        file["label"].attrs["exclusive"] = file["image"].ref
    with open_hdf5(path, 1e-5) as opened:
        for name in ("names", "exclusive"):
            with pytest.raises(InputError):
                opened.attribute(opened.dataset("label"), name)


@pytest.mark.parametrize(
    ("stored", "names", "exclusive"),
    [("tear", ("tear",), "no"), (np.bytes_("tear"), ("tear",), np.bool_(False))],
)
def test_one_name_is_not_spelt_out_and_no_is_not_yes(
    tmp_path: Path, stored: Any, names: tuple[str, ...], exclusive: Any
) -> None:
    path = slices(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        file["label"].attrs["names"] = stored
        file["label"].attrs["exclusive"] = exclusive
    table = open_dataset(f"slices:{path}").table
    assert (table.label_names, table.exclusive) == (names, False)


def test_rows_within_the_limit_are_no_more_than_what_is_stored_can_stand_for(
    tmp_path: Path,
) -> None:
    """A kilobyte of which each row is small enough to read, and all of them are 128 MiB."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("image", (N, 4096, 4096), np.uint16, chunks=(1, 64, 64))
    with pytest.raises(InputError, match="the data that its shape promises"):
        read_back(tmp_path / "a.h5")


def test_the_limit_is_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = slices(tmp_path / "a.h5")
    with pytest.raises(InputError, match="raise limit_gib= in the URI or INFOMRI_LIMIT_GIB"):
        open_dataset(f"slices:{path}?limit_gib=1e-9")
    monkeypatch.setenv(VARIABLE, "1e-9")
    with pytest.raises(InputError, match="GiB to read at once"):
        open_dataset(f"slices:{path}")
    assert len(open_dataset(f"slices:{path}?limit_gib=1")) == N
    monkeypatch.setenv(VARIABLE, "much")
    with pytest.raises(InputError, match="a number above 0"):
        limit_bytes()


def test_only_one_module_and_its_trial_open_hdf5_to_read() -> None:
    """Others write files of this project's own making."""
    opened = re.compile(r"h5py\.File\(([^)]*)\)")
    found = {}
    for package in ("infomri_core", "fl_client", "fl_server", "dashboard"):
        for path in (PROJECT / package).rglob("*.py"):
            calls = opened.findall(path.read_text(encoding="utf-8"))
            reading = [call for call in calls if '"w"' not in call and '"r+"' not in call]
            if reading:
                found[path.name] = reading
    assert found == {"guarded.py": ['path, "r"'], "trial.py": ['path, "r"']}


def test_what_is_ours_stays_readable(tmp_path: Path) -> None:
    for path in (slices(tmp_path / "a.h5"), fastmri(tmp_path / "k.h5")):
        read_back(path)
