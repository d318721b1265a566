"""What fuzzing found, each in its smallest form: refused, or left out with a reason."""

import re
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from benchmarks.fuzz.readers import READERS
from benchmarks.fuzz.run import corpus_of, digest_of, one_input
from fl_client.settings import read_settings
from infomri_core.attacks.external import read_external
from infomri_core.data import open_dataset
from infomri_core.data.normalise import volume_scale
from infomri_core.inference.scans import open_scan
from infomri_core.messages import EnrolTask, ReleaseTask, task_from, wire
from infomri_core.plan.reading import parse_plan
from infomri_core.summaries.groups import partition
from infomri_core.system.errors import InputError, Refused
from tests.client.test_site_commands import SITE
from tests.support.vault_fakes import PLAN


@pytest.mark.parametrize("header", ["{'descr': ('''", "{'descr': '<f4', ", "\x00", "((((((((("])
def test_a_damaged_header_of_a_numpy_file_is_refused(tmp_path: Path, header: str) -> None:
    text = header.encode().ljust(118)
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + text)
    with pytest.raises(InputError):
        open_scan(str(tmp_path / "a.npy"), (8, 8))


def test_a_numpy_file_of_more_than_its_limit_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INFOMRI_LIMIT_GIB", "1e-6")
    np.save(tmp_path / "a.npy", np.ones((9, 16, 16)))
    with pytest.raises(InputError, match="GiB"):
        open_scan(str(tmp_path / "a.npy"), (16, 16))


def test_a_png_of_billions_of_pixels_is_refused(tmp_path: Path) -> None:
    """Pillow has an error of its own for it, which is no OSError."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        whole = kind + data
        return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))

    size = struct.pack(">IIBBBBB", 2**16, 2**16, 8, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b""))
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(InputError, match="a PNG image"):
        open_scan(str(tmp_path / "a.png"), (8, 8))


@pytest.mark.parametrize("value", [2e-308, 1e-40, 1e39, 1e300])
def test_a_volume_whose_scale_is_no_float32_is_refused(tmp_path: Path, value: float) -> None:
    """Divided by zero or by infinity in float32 it was NaN, or black."""
    image = np.full((1, 8, 8), value)
    with pytest.raises(InputError, match="signal"):
        volume_scale(iter(image), 1, "x")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kspace"] = image
    with pytest.raises(InputError):
        open_scan(str(tmp_path / "a.h5"), (8, 8))


def test_an_archive_of_files_that_are_no_arrays_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for name in ("x_train", "y_train", "x_test", "y_test"):
            archive.writestr(f"{name}.npy", b"nothing of NumPy's")
    with pytest.raises(InputError, match="of whole numbers"):
        open_dataset(f"mnist:{tmp_path / 'a.npz'}?role=site")


def test_numbers_of_settings_and_plans_that_nothing_holds_are_refused(tmp_path: Path) -> None:
    """TOML has whole numbers of any length, and a range of ratios may end at zero."""
    many = "9" * 400
    for text in (
        PLAN.text.replace("local_steps = 1", f"local_steps = {many}"),
        PLAN.text + f"[privacy]\nnoise_multiplier = {many}\n",
        re.sub(r"ratio_range = \[[^]]*\]", "ratio_range = [0.1, 0.0]", PLAN.text),
    ):
        assert text != PLAN.text
        with pytest.raises(InputError):
            parse_plan(text)
    (tmp_path / "site.toml").write_text(SITE + f"max_epsilon = {many}\n")
    with pytest.raises(InputError):
        read_settings(tmp_path / "site.toml")


@pytest.mark.parametrize("column", ["image", "patient", "label", "split"])
def test_a_column_of_compound_values_is_refused(tmp_path: Path, column: str) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"] = np.ones((4, 8, 8), np.uint16)
        file["patient"], file["label"] = np.arange(4), np.array([0, 1, 0, 1], np.uint8)
        file.pop(column, None)
        file[column] = np.zeros(4, "i8,f4")
    with pytest.raises(InputError):
        open_dataset(f"slices:{tmp_path / 'a.h5'}")


@pytest.mark.parametrize("deadline", [10**400, -(10**400), float("inf"), float("nan")])
def test_a_deadline_that_is_no_time_is_refused(deadline: float) -> None:
    message = wire.Message("enrol", {"plan": "x", "deadline": deadline})
    with pytest.raises(Refused, match="not a time"):
        task_from(wire.decode(wire.encode(message)))
    assert task_from(wire.Message("enrol", {"plan": "x", "deadline": 1})) == EnrolTask("x", 1.0)


@pytest.mark.parametrize("acceleration", [10**400, -(10**400), float("nan"), 0, True])
def test_an_acceleration_that_is_none_is_refused(acceleration: float) -> None:
    good = {"plan": "x", "round": 1, "deadline": 1, "arm": "a", "acceleration": 4}
    weights = {"weights": np.zeros(3, np.float32)}
    assert isinstance(task_from(wire.Message("release", good, weights)), ReleaseTask)
    odd = wire.Message("release", {**good, "acceleration": acceleration}, weights)
    with pytest.raises(Refused, match="acceleration"):
        task_from(wire.decode(wire.encode(odd)))


def test_a_patient_id_that_is_not_utf8_is_split_and_grouped(tmp_path: Path) -> None:
    """An attribute of a damaged volume: it was no text that a hash could take."""
    for n in range(3):
        with h5py.File(tmp_path / f"{n}.h5", "w") as file:
            file["kspace"] = np.ones((2, 8, 8), np.complex64) * (1 + n)
            file.attrs["patient_id"] = np.bytes_(b"M\xfc\xff%d" % n)
    dataset = open_dataset(f"fastmri:{tmp_path}?size=8")
    assert len(set(map(str, dataset.table.patients))) == 3
    assert len(set(partition(dataset.table.patients, "k" * 40, 1))) == 3


def test_external_masks_of_a_damaged_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "external.toml").write_text("noise_std = 0.02\n")
    for name in ("mask", "kspace", "truth"):
        (tmp_path / f"{name}.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00{'descr': ('''")
    with pytest.raises(InputError):
        read_external(tmp_path)


@pytest.mark.parametrize("name", ["dicom", "ismrmrd", "nifti-gz"])
def test_a_fuzzed_input_is_the_same_at_every_run(tmp_path: Path, name: str) -> None:
    made = []
    for run in ("a", "b"):
        folder = tmp_path / run
        folder.mkdir()
        corpus = corpus_of(name, folder)
        made.append((digest_of(corpus), one_input(name, corpus, 0, 7, folder)))
    assert made[0] == made[1]


def test_every_reader_takes_its_corpus_and_refuses_what_is_damaged(tmp_path: Path) -> None:
    """The fuzzer itself, a few inputs a reader, in a process of its own."""
    line = [sys.executable, "-W", "ignore", "-m", "benchmarks.fuzz", "--inputs", "8"]
    done = subprocess.run(
        [*line, "--keep", str(tmp_path)], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(f"{name}: 8 inputs" in done.stdout for name in READERS)
