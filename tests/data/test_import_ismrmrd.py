"""Raw data in: the image that was measured comes back, from 2-D and 3-D scans of many coils."""

import json
from pathlib import Path
from typing import Any

import h5py
import ismrmrd
import numpy as np
import pytest

from infomri_core.system.errors import InputError
from tests.support.importing import bring
from tests.support.raw_data import N_X, N_Y, Raw, read, volume


@pytest.mark.parametrize(("n_y", "n_x"), [(N_Y, N_X), (21, 26)])
@pytest.mark.parametrize("three_d", [False, True])
def test_the_image_in_the_scanner_comes_back(
    tmp_path: Path, three_d: bool, n_y: int, n_x: int
) -> None:
    truth = volume(5, n_y, n_x)
    raw = Raw(tmp_path / "a.h5", truth).measured(three_d=three_d)
    images = read(raw.write(three_d=three_d))
    np.testing.assert_allclose(np.stack(images), truth, atol=0.5)


def test_noise_and_calibration_do_not_reach_the_image(tmp_path: Path) -> None:
    raw = Raw(tmp_path / "a.h5", volume()).measured()
    for flag in (
        ismrmrd.ACQ_IS_NOISE_MEASUREMENT,
        ismrmrd.ACQ_IS_PARALLEL_CALIBRATION,
        ismrmrd.ACQ_IS_NAVIGATION_DATA,
        ismrmrd.ACQ_IS_PHASECORR_DATA,
        ismrmrd.ACQ_IS_DUMMYSCAN_DATA,
    ):
        raw.extra(flag)
    raw.extra(repetition=1)
    np.testing.assert_allclose(np.stack(read(raw.write())), volume(), atol=0.5)


def test_repeated_lines_are_averaged(tmp_path: Path) -> None:
    raw = Raw(tmp_path / "a.h5", volume()).measured()
    raw.lines += [(z, y, flag, 3 * s, more) for z, y, flag, s, more in raw.lines]
    np.testing.assert_allclose(np.stack(read(raw.write())), 2 * volume(), atol=1.0)


def test_slices_are_stored_in_the_order_of_their_places(tmp_path: Path) -> None:
    raw = Raw(tmp_path / "a.h5", volume(3)).measured()
    path = raw.write()
    with h5py.File(path, "r+") as file:
        rows = file["dataset/data"][:]
        rows["head"]["position"] *= -1
        file["dataset/data"][:] = rows
    np.testing.assert_allclose(np.stack(read(path)), volume(3)[::-1], atol=0.5)


def test_an_asymmetric_echo_is_centred(tmp_path: Path) -> None:
    raw = Raw(tmp_path / "a.h5", volume()).measured()
    full = np.stack(read(raw.write()))
    cut = 6
    path = tmp_path / "b.h5"
    with (
        ismrmrd.Dataset(str(tmp_path / "a.h5")) as old,
        ismrmrd.Dataset(str(path), mode="w") as new,
    ):
        new.write_xml_header(old.read_xml_header())
        for number in range(old.number_of_acquisitions()):
            line = old.read_acquisition(number)
            short = ismrmrd.Acquisition.from_array(line.data[:, cut:])
            for name in ("idx", "position", "read_dir", "phase_dir", "slice_dir"):
                setattr(short, name, getattr(line, name))
            short.center_sample = line.center_sample - cut
            new.append_acquisition(short)
    images = np.stack(read(path))
    # The lost edge of k-space blurs; a wrong centre would only turn the phase, so look at both.
    assert np.abs(images - full).max() < 0.1 * full.max()
    assert np.abs(images - full).max() > 0


@pytest.mark.parametrize("three_d", [False, True])
def test_undersampled_scans_are_left_out_and_partial_fourier_is_taken(
    tmp_path: Path, three_d: bool
) -> None:
    under = Raw(tmp_path / "a.h5", volume(4)).measured(three_d=three_d, keep=slice(None, None, 2))
    reason = "undersampled k-space (parallel imaging or compressed sensing)"
    assert read(under.write(three_d=three_d)) == [reason] * 4
    partial = Raw(tmp_path / "b.h5", volume(4)).measured(three_d=three_d, keep=slice(5, None))
    images = read(partial.write(three_d=three_d))
    np.testing.assert_allclose(np.stack(images), volume(4), atol=150)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"trajectory": "spiral"}, "not Cartesian"),
        ({"wide": 0}, "an impossible matrix or field of view"),
        ({"y": 8}, "readouts outside the encoded matrix"),
        ({"y": "many"}, "header field encodedSpace/matrixSize/y is missing or not a number"),
        ({"subject": "<broken"}, "damaged ISMRMRD header"),
        ({"protocol": "scout"}, "localizer"),
    ],
)
def test_what_cannot_be_rebuilt_is_left_out_with_its_reason(
    tmp_path: Path, header: dict[str, Any], reason: str
) -> None:
    path = Raw(tmp_path / "a.h5", volume(), **header).measured().write()
    with pytest.raises(InputError, match=reason):
        bring("ismrmrd", path, tmp_path / "s.h5")


def test_foreign_truncated_and_silent_files_end_nothing(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "s.h5"
    good = Raw(folder / "a.h5", volume()).measured().write()
    (folder / "cut.h5").write_bytes(good.read_bytes()[:-4000])
    (folder / "text.h5").write_text("no HDF5")
    (folder / "readme.txt").write_text("hello")
    with h5py.File(folder / "other.h5", "w") as file:
        file["image"] = np.zeros(3)
    Raw(folder / "empty.h5", volume()).extra(ismrmrd.ACQ_IS_NOISE_MEASUREMENT).write()
    Raw(folder / "nameless.h5", volume(), subject="").measured().write()
    stored = bring("ismrmrd", folder, out)
    assert len(stored["image"]) == 4 and len(set(stored["patient"])) == 2
    report = json.loads(out.with_name("s.report.json").read_text())
    assert report["skipped"] == {
        "damaged or truncated ISMRMRD file": 2,
        "no image readouts": 1,
        "not an ISMRMRD file": 2,
    }
    assert "raw data without a patient id are called after their path" in report["warnings"]
