"""fastMRI volumes: k-space to image, labels by slice, bounded reading, refusals."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from infomri_core.data import open_dataset
from infomri_core.data.fastmri import volumes
from infomri_core.system.errors import InputError

HEADER = "file,slice,study_level,x,y,width,height,label\n"
H, W, PADDING = 40, 36, 4


def fourier(image: np.ndarray) -> np.ndarray:
    return np.fft.fftshift(
        np.fft.fft2(np.fft.ifftshift(image, axes=(-2, -1)), norm="ortho"), (-2, -1)
    )


def inverse(kspace: np.ndarray) -> np.ndarray:
    return np.fft.fftshift(
        np.fft.ifft2(np.fft.ifftshift(kspace, axes=(-2, -1)), norm="ortho"), (-2, -1)
    )


def write_volume(path: Path, patient: str, seed: int, n_slices: int = 5, **changes: Any) -> Path:
    """A volume of the published schema: k-space of a smooth image, its outer columns empty."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : H * 1j, -1 : 1 : W * 1j]
    blobs = [
        np.exp(-8 * ((x - a) ** 2 + (y - b) ** 2))
        for a, b in rng.uniform(-0.4, 0.4, (n_slices, 2))
    ]
    kspace = fourier(np.stack(blobs) * np.exp(1j * x)).astype(np.complex64) * 1e-4
    kspace[:, :, :PADDING] = 0
    kspace[:, :, -PADDING:] = 0
    image = np.abs(inverse(kspace))[:, 4:-4, 2:-2]
    content: dict[str, Any] = {
        "kspace": kspace,
        "reconstruction_esc": image.astype(np.float32),
        "ismrmrd_header": "<ismrmrdHeader/>",
        **changes,
    }
    path.parent.mkdir(exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in content.items():
            if values is not None:
                file[name] = values
        file.attrs["max"] = float(image.max())
        file.attrs["norm"] = float(np.linalg.norm(image))
        file.attrs["acquisition"] = "CORPD_FBK" if seed % 2 else "CORPDFS_FBK"
        if patient:
            file.attrs["patient_id"] = patient
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six volumes of five patients, the table of four of them, and the annotators' list."""
    for i in range(6):
        write_volume(tmp_path / f"file100000{i}.h5", f"patient{max(i, 1)}", seed=i)
    rows = [
        "file1000001,2,No,1,2,3,4,Meniscus Tear",
        "file1000001,2,No,5,6,3,4,Meniscus Tear",
        "file1000001,3,No,1,2,3,4,Meniscus Tear",
        "file1000002,0,No,1,2,3,4,Joint Effusion ",
        "file1000002,1,No,1,2,3,4,Cartilage - Partial Thickness loss/defect",
        "file1000003,4,No,1,2,3,4,Cartilage - Full Thickness loss/defect",
        "file1000004,0,Yes,,,,,artifact",
    ]
    (tmp_path / "knee.csv").write_text(HEADER + "\n".join(rows) + "\n")
    listed = [f"file100000{i}" for i in range(5)] + ["file1999999", "Knee data", ""]
    (tmp_path / "knee_file_list.csv").write_text("\n".join(listed))
    return tmp_path


def test_the_image_crop_is_the_stored_reconstruction(folder: Path) -> None:
    data = open_dataset(f"fastmri:{folder}?crop=image&size=32")
    with h5py.File(folder / "file1000000.h5") as file:
        stored = file["reconstruction_esc"][:]
    scale = np.percentile(stored, 99.9)
    np.testing.assert_allclose(
        data.images(range(5)).numpy(), np.clip(stored / scale, 0, 1), atol=1e-5
    )


def test_the_kspace_crop_keeps_the_zero_frequency_in_the_centre(folder: Path) -> None:
    data = open_dataset(f"fastmri:{folder}?size=24")
    with h5py.File(folder / "file1000000.h5") as file:
        kspace = file["kspace"][:]
    assert (kspace[:, :, :PADDING] == 0).all()
    images = np.abs(inverse(kspace[:, H // 2 - 12 : H // 2 + 12, W // 2 - 12 : W // 2 + 12]))
    expected = np.clip(images / np.percentile(images, 99.9), 0, 1)
    np.testing.assert_allclose(data.images(range(5)).numpy(), expected, atol=1e-5)


def test_a_shift_of_the_crop_would_show(folder: Path) -> None:
    kspace = np.zeros((H, W), dtype=np.complex64)
    kspace[H // 2, W // 2] = 1.0
    for size in (23, 24, 31):
        image = volumes.magnitude(kspace, "kspace", size)
        np.testing.assert_allclose(image, 1.0 / size, rtol=1e-5)


def test_labels_are_those_of_annotated_slices_and_unlisted_volumes_are_no_negatives(
    folder: Path,
) -> None:
    table = open_dataset(
        f"fastmri:{folder}?labels=knee.csv&size=24&names=meniscus,Cartilage"
    ).table
    assert len(table) == 25
    assert table.label_names == ("meniscus", "Cartilage")
    assert np.argwhere(table.labels).tolist() == [[7, 0], [8, 0], [11, 1], [19, 1]]


def test_a_study_level_label_holds_for_every_slice(folder: Path) -> None:
    table = open_dataset(f"fastmri:{folder}?labels=knee.csv&size=24&names=artifact").table
    assert np.flatnonzero(table.labels[:, 0]).tolist() == [20, 21, 22, 23, 24]


def test_the_default_labels_are_the_most_frequent_of_the_table(folder: Path) -> None:
    table = open_dataset(f"fastmri:{folder}?labels=knee.csv&size=24").table
    assert table.label_names[0] == "Meniscus Tear" and len(table.label_names) == 3


def test_without_a_list_only_volumes_of_the_table_are_opened(folder: Path) -> None:
    (folder / "knee_file_list.csv").unlink()
    table = open_dataset(f"fastmri:{folder}?labels=knee.csv&size=24").table
    assert len(table) == 20


def test_volumes_of_a_patient_share_the_split(folder: Path) -> None:
    table = open_dataset(f"fastmri:{folder}?size=24").table
    assert len(np.unique(table.patients)) == 5
    pairs = set(zip(table.patients.tolist(), table.split.tolist()))
    assert len(pairs) == 5


def test_split_folders_are_the_split(tmp_path: Path) -> None:
    for i in range(4):
        split = "val" if i == 3 else "train"
        write_volume(tmp_path / f"singlecoil_{split}" / f"file{i}.h5", f"q{i}", i)
    table = open_dataset(f"fastmri:{tmp_path}?size=24").table
    assert np.unique(table.patients[table.split == "val"]).tolist() == ["q3"]
    write_volume(tmp_path / "singlecoil_val" / "file9.h5", "q0", 9)
    with pytest.raises(InputError, match="a patient in 2 splits"):
        open_dataset(f"fastmri:{tmp_path}?size=24")


def test_an_acquisition_is_chosen_by_name(folder: Path) -> None:
    assert len(open_dataset(f"fastmri:{folder}?size=24&acquisition=CORPD_FBK")) == 15
    with pytest.raises(InputError, match="CORPDFS_FBK, CORPD_FBK"):
        open_dataset(f"fastmri:{folder}?size=24&acquisition=AXT2")


def test_one_slice_costs_one_slice_and_open_files_are_bounded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volumes, "MAX_OPEN_FILES", 2)
    data = open_dataset(f"fastmri:{folder}?size=24")
    data.images(range(len(data)))
    read: list[tuple[int, ...]] = []
    original = h5py.Dataset.__getitem__

    def counting(self: h5py.Dataset, key: Any, **kwargs: Any) -> Any:
        value = original(self, key, **kwargs)
        read.append(np.asarray(value).shape)
        return value

    monkeypatch.setattr(h5py.Dataset, "__getitem__", counting)
    data.images([3, 11, 29])
    assert read == [(H, W)] * 3
    assert len(data.parent._open) == 2  # type: ignore[attr-defined]


BAD_KSPACE = np.full((5, H, W), np.nan, dtype=np.complex64)


@pytest.mark.parametrize(
    ("changes", "patient", "message"),
    [
        ({"kspace": None}, "p", "a data set 'kspace'"),
        ({"kspace": BAD_KSPACE}, "p", "expected finite values"),
        ({"kspace": 0 * BAD_KSPACE.real.astype(np.float32)}, "p", "complex single-coil"),
        ({"kspace": np.zeros((5, H, W), np.complex64)}, "p", "an image with signal"),
        ({"kspace": np.ones((5, 2, H, W), np.complex64)}, "p", "complex single-coil"),
        ({"kspace": np.ones((5, 16, 16), np.complex64)}, "p", "use size=16 or smaller"),
        ({}, "", "an attribute 'patient_id'"),
    ],
)
def test_unusable_volumes_are_refused(
    folder: Path, changes: dict[str, Any], patient: str, message: str
) -> None:
    write_volume(folder / "file1000003.h5", patient, 3, **changes)
    with pytest.raises(InputError, match=message):
        open_dataset(f"fastmri:{folder}?size=24")


def test_nan_outside_the_middle_slice_is_refused_when_the_volume_is_first_used(
    folder: Path,
) -> None:
    with h5py.File(folder / "file1000000.h5", "r+") as file:
        file["kspace"][0, 3, 6] = np.nan
        file["kspace"][0, H // 2, W // 2] = np.nan
    data = open_dataset(f"fastmri:{folder}?size=24")
    with pytest.raises(InputError, match="slice 0: expected finite values"):
        data.images([4])


def test_truncated_volumes_and_empty_folders_are_refused(folder: Path) -> None:
    path = folder / "file1000002.h5"
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(InputError, match="an HDF5 file, got an unreadable one"):
        open_dataset(f"fastmri:{folder}?size=24")
    with pytest.raises(InputError, match="no such folder"):
        open_dataset(f"fastmri:{folder / 'absent'}")
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match=r"volumes \(\*.h5\), got none"):
        open_dataset(f"fastmri:{folder / 'empty'}")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("file,slice\nfile1000001,2\n", "a column 'label'"),
        ("", "a column 'file'"),
        (HEADER + "file1000001,two,No,1,2,3,4,Tear\n", "line 2 slice: expected a whole number"),
        (
            HEADER + "file1000001,9,No,1,2,3,4,Tear\n",
            "line 2: expected slices 0 to 4, got another number",
        ),
        (HEADER + "file7777777,1,No,1,2,3,4,Tear\n", "files of the list knee_file_list.csv"),
    ],
)
def test_unusable_label_tables_are_refused(folder: Path, table: str, message: str) -> None:
    (folder / "knee.csv").write_text(table)
    with pytest.raises(InputError, match=message):
        open_dataset(f"fastmri:{folder}?labels=knee.csv&size=24")


def test_without_a_list_a_table_of_unknown_files_is_refused(folder: Path) -> None:
    (folder / "knee_file_list.csv").unlink()
    (folder / "knee.csv").write_text(HEADER + "file7777777,1,No,1,2,3,4,Tear\n")
    with pytest.raises(InputError, match="files of the data folder, got 1 other name"):
        open_dataset(f"fastmri:{folder}?labels=knee.csv&size=24")


def test_unknown_label_names_are_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="a label of the table, got 'Meniscal Tear'"):
        open_dataset(f"fastmri:{folder}?labels=knee.csv&size=24&names=Meniscal Tear")
    with pytest.raises(InputError, match="no such file"):
        open_dataset(f"fastmri:{folder}?labels=none.csv&size=24")
