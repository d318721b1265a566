"""What the field's files do to the readers of data sets, plans and settings."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from infomri_core.data import open_dataset
from infomri_core.data.measured import missing
from infomri_core.data.slices import SliceOptions
from infomri_core.data.uri import parse_uri, read_options
from infomri_core.inference.scans import open_scan
from infomri_core.plan.reading import read_plan
from infomri_core.system.config import read_toml
from infomri_core.system.errors import InputError
from tests.support.hospital_files import blob

SIDE = 32


def kspace(n: int = 2) -> np.ndarray:
    images = np.stack([blob(SIDE, SIDE, place) for place in range(n)])
    noise = np.random.default_rng(0).normal(size=images.shape)
    shifted = np.fft.ifftshift(images + noise, axes=(1, 2))
    return np.fft.fftshift(np.fft.fft2(shifted), axes=(1, 2)).astype(np.complex64)


def fast(path: Path, k: np.ndarray, **more: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["kspace"] = k
        file.attrs["patient_id"] = more.pop("patient", path.stem)
        for name, values in more.items():
            file[name] = values
    return path


def sampled(keep: Any, axis: int = 2) -> np.ndarray:
    k = kspace()
    mask = np.zeros(SIDE, dtype=bool)
    mask[keep] = True
    return k * (mask if axis == 2 else mask[:, None])


UNMEASURED = {
    "every second column": sampled(slice(None, None, 2)),
    "every third row": sampled(slice(None, None, 3), axis=1),
    "a third, the centre in it": sampled(slice(11, 21)),
    "aborted before the centre": sampled(slice(0, 15)),
    "scattered points": kspace() * (np.random.default_rng(1).random((SIDE, SIDE)) < 0.5),
}


@pytest.mark.parametrize("kind", UNMEASURED)
def test_unmeasured_k_space_is_refused_wherever_it_enters(tmp_path: Path, kind: str) -> None:
    k = UNMEASURED[kind].astype(np.complex64)
    folder = fast(tmp_path / "in" / "a.h5", k).parent
    fast(folder / "b.h5", kspace())
    np.save(tmp_path / "a.npy", k)
    for attempt in (
        lambda: open_dataset(f"fastmri:{folder}?size={SIDE}"),
        lambda: open_scan(str(tmp_path / "a.npy"), (SIDE, SIDE), magnitude=True),
        lambda: open_scan(str(folder / "a.h5"), (SIDE, SIDE)),
    ):
        with pytest.raises(InputError, match="expected fully sampled k-space"):
            attempt()


@pytest.mark.parametrize("kind", UNMEASURED)
def test_one_unmeasured_slice_beside_whole_ones_is_refused(tmp_path: Path, kind: str) -> None:
    """On opening, the middle slice is looked at; the others when the volume is first read."""
    k = np.stack([kspace()[0]] * 5)
    k[0] = UNMEASURED[kind][0]
    folder = fast(tmp_path / "a.h5", k).parent
    fast(folder / "b.h5", kspace())
    data = open_dataset(f"fastmri:{folder}?size={SIDE}")
    with pytest.raises(InputError, match="slice 0: expected fully sampled k-space"):
        data.images([4])


def test_what_is_nothing_beside_the_signal_was_not_measured() -> None:
    k = UNMEASURED["every second column"]
    assert missing(k) == missing(k + 1e-20 * np.abs(k).max()) != ""


@pytest.mark.parametrize("keep", [slice(None), slice(4, 28), slice(8, None)])
def test_padding_and_partial_fourier_are_no_holes(tmp_path: Path, keep: slice) -> None:
    k = sampled(keep).astype(np.complex64)
    assert missing(k) == ""
    folder = fast(tmp_path / "a.h5", k).parent
    fast(tmp_path / "b.h5", k)
    assert len(open_dataset(f"fastmri:{folder}?size={SIDE}")) == 4


@pytest.mark.parametrize("shape", [(SIDE,), (1, SIDE, 1)])
def test_a_mask_beside_k_space_is_heeded(tmp_path: Path, shape: tuple[int, ...]) -> None:
    mask = np.ones(shape, dtype=bool)
    whole = fast(tmp_path / "whole" / "a.h5", kspace(), mask=mask)
    assert len(open_scan(str(whole), (SIDE, SIDE)).source) == 2
    mask.reshape(-1)[::2] = False
    test = fast(tmp_path / "test" / "a.h5", kspace(), mask=mask)
    with pytest.raises(InputError, match="a mask that measures 16 of 32"):
        open_dataset(f"fastmri:{test.parent}?size={SIDE}")
    with pytest.raises(InputError, match="infomri audit --external"):
        open_scan(str(test), (SIDE, SIDE))


def test_capitals_and_companions_in_a_fastmri_folder(tmp_path: Path) -> None:
    fast(tmp_path / "A.H5", kspace())
    fast(tmp_path / "b.hdf5", kspace(), patient=np.int64(7))
    (tmp_path / "._A.H5").write_bytes(b"\0\5\x16\7")
    assert sorted(set(open_dataset(f"fastmri:{tmp_path}?size=8").table.patients)) == ["7", "A"]


def test_several_coils_name_a_way_that_exists(tmp_path: Path) -> None:
    fast(tmp_path / "a.h5", np.stack([kspace()] * 3, axis=1))
    with pytest.raises(InputError, match="reconstruction_rss"):
        open_dataset(f"fastmri:{tmp_path}?size=8")


def archive(path: Path, hospital: list[str], shape: tuple[int, int] = (8, 8)) -> Path:
    n = len(hospital)
    with h5py.File(path, "w") as file:
        file["image"] = np.random.default_rng(0).integers(1, 99, (n, *shape)).astype(np.uint16)
        file["patient"] = np.arange(n)
        file["label"] = np.arange(n) % 2
        file["hospital"] = np.array(hospital, dtype=h5py.string_dtype())
    return path


def test_only_written_commas_separate(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.h5", ["St. Anne, North"] * 4 + ["South"] * 4)
    assert len(open_dataset(f"slices:{path}?hospital=St. Anne%2C North")) == 4
    assert len(open_dataset(f"slices:{path}?hospital=St. Anne%2C North,South")) == 8
    options = read_options(SliceOptions, parse_uri("slices:x?names=a%2Cb,c%26d,100%25"))
    assert options.names == ("a,b", "c&d", "100%")


def test_spectra_are_called_so(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.h5", ["x"] * 4, shape=(1, 512))
    with pytest.raises(InputError, match="spectra"):
        open_dataset(f"slices:{path}")


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_byte_order_mark_is_no_statement(tmp_path: Path, mark: bytes) -> None:
    path = tmp_path / "site.toml"
    path.write_bytes(mark + b'name = "north"\n')
    assert read_toml(path) == {"name": "north"}


def test_another_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text('name = "north"\n', encoding="utf-16")
    for read in (read_toml, read_plan):
        with pytest.raises(InputError, match="got UTF-16; save it again"):
            read(path)


@pytest.mark.parametrize("text", ["a = " + "[" * 5000, "a = " + "9" * 5000, "a = 1979-13-41"])
def test_toml_that_breaks_its_parser_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "site.toml"
    path.write_text(text)
    with pytest.raises(InputError, match="valid TOML"):
        read_toml(path)
