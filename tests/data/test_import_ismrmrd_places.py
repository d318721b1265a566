"""Every counter of a raw readout is a place of its own, or a stated reason to leave it out."""

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ismrmrd
import numpy as np
import pytest

from infomri_core.data.importing.choice import Choice
from infomri_core.data.importing.formats.ismrmrd.readouts import MOVED, OTHER_IMAGE, OTHER_SPACE
from infomri_core.data.importing.formats.ismrmrd.scan import ABORTED, UNDERSAMPLED, scan_ismrmrd
from infomri_core.data.importing.patients import PatientRule
from infomri_core.data.importing.volume import Journal
from infomri_core.system.errors import InputError
from tests.support.importing import bring
from tests.support.raw_data import COILS, N_X, N_Y, Raw, read, volume

CORONAL = {"read_dir": (1, 0, 0), "phase_dir": (0, 0, -1), "slice_dir": (0, 1, 0)}
SAGITTAL = {"read_dir": (0, 1, 0), "phase_dir": (0, 0, -1), "slice_dir": (1, 0, 0)}


def journal_of(path: Path) -> Journal:
    journal = Journal()
    scan_ismrmrd(path, Choice(plane="any"), PatientRule(), journal, lambda: None)
    return journal


def test_two_slabs_are_two_sets_of_partitions(tmp_path: Path) -> None:
    low, high = volume(4), 2.0 * volume(4)[:, ::-1]
    raw = Raw(tmp_path / "a.h5", high).measured(three_d=True, slice=1, position=(0, 0, 40))
    raw.volume = low
    path = raw.measured(three_d=True, slice=0, position=(0, 0, 0)).write(three_d=True)
    np.testing.assert_allclose(np.stack(read(path)), np.concatenate([low, high]), atol=1)


def test_partitions_counted_towards_the_feet_are_turned_round_with_their_numbers(
    tmp_path: Path,
) -> None:
    raw = Raw(tmp_path / "a.h5", volume(4)).measured(three_d=True, slice_dir=(0, 0, -1))
    path = raw.write(three_d=True)
    np.testing.assert_allclose(np.stack(read(path)), volume(4)[::-1], atol=0.5)
    (found,) = scan_ismrmrd(path, Choice(), PatientRule(), Journal(), lambda: None)
    assert found.slices == (("4",), ("3",), ("2",), ("1",))


@pytest.mark.parametrize("counter", ["contrast", "phase", "set", "repetition"])
def test_other_images_of_a_slice_are_left_out_and_counted(tmp_path: Path, counter: str) -> None:
    raw = Raw(tmp_path / "a.h5", 3 * volume()).measured(**{counter: 1})
    raw.volume = volume()
    path = raw.measured().write()
    np.testing.assert_allclose(np.stack(read(path)), volume(), atol=0.5)
    assert journal_of(path).skipped == {OTHER_IMAGE: 2}


def test_the_first_image_is_one_that_was_measured(tmp_path: Path) -> None:
    """The least contrast and the least set need not have met."""
    raw = Raw(tmp_path / "a.h5", volume()).measured(contrast=0, set=1)
    raw.volume = 3 * volume()
    path = raw.measured(contrast=1, set=0).write()
    np.testing.assert_allclose(np.stack(read(path)), volume(), atol=0.5)


def test_segments_that_share_out_the_lines_make_one_image_and_others_none(tmp_path: Path) -> None:
    raw = Raw(tmp_path / "a.h5", volume()).measured()
    raw.lines = [(z, y, f, s, {"segment": y % 4}) for z, y, f, s, _ in raw.lines]
    np.testing.assert_allclose(np.stack(read(raw.write())), volume(), atol=0.5)
    again = Raw(tmp_path / "b.h5", volume()).measured().measured(segment=1)
    assert journal_of(again.write()).skipped == {"lines measured again in another segment": 1}
    average = Raw(tmp_path / "c.h5", volume()).measured().measured(average=1)
    np.testing.assert_allclose(np.stack(read(average.write())), volume(), atol=0.5)


def test_a_line_under_two_numbers_of_the_vendors_own_is_no_average(tmp_path: Path) -> None:
    one, other = (ctypes.c_uint16 * 8)(), (ctypes.c_uint16 * 8)(0, 0, 1)
    again = Raw(tmp_path / "a.h5", volume()).measured(user=one).measured(user=other)
    why = {"lines measured again under another user index": 1}
    assert journal_of(again.write()).skipped == why
    average = Raw(tmp_path / "b.h5", volume()).measured(user=one).measured(user=other, average=1)
    np.testing.assert_allclose(np.stack(read(average.write())), volume(), atol=0.5)


def test_readouts_of_another_encoding_space_are_counted(tmp_path: Path) -> None:
    raw = Raw(tmp_path / "a.h5", volume()).measured().extra(encoding_space_ref=1)
    path = raw.write()
    assert journal_of(path).skipped == {OTHER_SPACE: 1}
    np.testing.assert_allclose(np.stack(read(path)), volume(), atol=0.5)


def localiser(path: Path) -> Path:
    """Slices 0 axial, 1 coronal, 2 sagittal."""
    raw = Raw(path, volume(3), protocol="three planes")
    raw.measured()
    turned: tuple[dict[str, Any], ...] = ({}, CORONAL, SAGITTAL)
    raw.lines = [(z, y, f, s, turned[z]) for z, y, f, s, _ in raw.lines]
    return raw.write()


def test_each_slice_has_its_own_geometry(tmp_path: Path) -> None:
    path = localiser(tmp_path / "a.h5")
    volumes = scan_ismrmrd(path, Choice(plane="any"), PatientRule(), Journal(), lambda: None)
    assert [v.plane for v in volumes] == ["axial", "coronal", "sagittal"]
    with pytest.raises(InputError, match="slices of one plane, got axial 1, coronal 1, sagittal"):
        bring("ismrmrd", path, tmp_path / "s.h5")
    stored = bring("ismrmrd", path, tmp_path / "s.h5", "--plane", "coronal")
    truth = volume(3)[1]
    assert np.corrcoef(stored["image"][0].ravel(), truth.ravel())[0, 1] > 0.999


def test_parallel_slices_far_apart_in_angle_are_not_one_stack(tmp_path: Path) -> None:
    """Second instance: radial slices of a knee or heart, each with a normal of its own."""
    raw = Raw(tmp_path / "a.h5", volume(2)).measured()
    tilt = np.radians(20)
    oblique = {"phase_dir": (0, np.cos(tilt), np.sin(tilt))}
    oblique["slice_dir"] = (0, -np.sin(tilt), np.cos(tilt))
    raw.lines = [(z, y, f, s, oblique if z else {}) for z, y, f, s, _ in raw.lines]
    volumes = scan_ismrmrd(
        raw.write(), Choice(plane="any"), PatientRule(), Journal(), lambda: None
    )
    assert [len(v) for v in volumes] == [1, 1]
    assert len({v.fingerprint for v in volumes}) == 2


def test_a_slice_that_moves_while_it_is_measured_is_left_out(tmp_path: Path) -> None:
    raw = Raw(tmp_path / "a.h5", volume(2)).measured()
    z, y, flag, samples, _ = raw.lines[-1]
    raw.lines[-1] = (z, y, flag, samples, {"position": (0, 0, 30)})
    path = raw.write()
    assert journal_of(path).skipped == {MOVED: 1}
    assert len(read(path)) == 1


@pytest.mark.parametrize(
    ("keep", "reason"),
    [
        (slice(0, 7), ABORTED),  # stopped before the centre
        (slice(7, 14), ABORTED),  # the centre alone
        (slice(0, 10), ABORTED),  # half, without the centre
        (slice(None, None, 3), UNDERSAMPLED),
    ],
)
@pytest.mark.parametrize("three_d", [False, True])
def test_aborted_scans_are_left_out(
    tmp_path: Path, keep: slice, reason: str, three_d: bool
) -> None:
    raw = Raw(tmp_path / "a.h5", volume(4)).measured(three_d=three_d, keep=keep)
    assert read(raw.write(three_d=three_d)) == [reason] * 4


def test_partitions_that_were_not_reached_are_no_image(tmp_path: Path) -> None:
    """Second instance: a 3-D scan that was stopped in its slowest direction."""
    raw = Raw(tmp_path / "a.h5", volume(6)).measured(three_d=True)
    raw.lines = [line for line in raw.lines if line[0] < 2]
    assert read(raw.write(three_d=True)) == [ABORTED] * 6


def test_one_aborted_slice_does_not_take_the_others_along(tmp_path: Path) -> None:
    raw = Raw(tmp_path / "a.h5", volume(3)).measured()
    raw.lines = [line for line in raw.lines if line[0] != 1 or line[1] < 6]
    images = read(raw.write())
    assert images[1] == ABORTED
    np.testing.assert_allclose(np.stack(images[::2]), volume(3)[::2], atol=0.5)


def short_readouts(raw: Raw) -> None:
    """A quarter of each readout, the echo at its end."""
    raw.lines = [(z, y, f, s[:, : N_X // 2], m) for z, y, f, s, m in raw.lines]


def long_readouts(raw: Raw) -> None:
    raw.lines = [(z, y, f, np.tile(s, 5), m) for z, y, f, s, m in raw.lines]


@pytest.mark.parametrize(
    ("change", "header", "reason"),
    [
        (short_readouts, {}, "readouts without the centre or more than half of k-space"),
        (long_readouts, {}, "spectroscopy, not an image"),
        (lambda raw: None, {"y": 1}, "spectroscopy, not an image"),
    ],
)
def test_what_is_no_image_is_called_so(
    tmp_path: Path, change: Callable[[Raw], None], header: dict[str, Any], reason: str
) -> None:
    raw = Raw(tmp_path / "in" / "a.h5", volume(2), subject="<patientID>B</patientID>", **header)
    change(raw.measured())
    raw.write()
    Raw(tmp_path / "in" / "b.h5", volume(2)).measured().write()
    stored = bring("ismrmrd", tmp_path / "in", tmp_path / "s.h5")
    assert len(stored["image"]) == 2
    assert reason in (tmp_path / "s.report.txt").read_text()


@pytest.mark.parametrize(
    ("header", "what"),
    [
        ({"z": "1.0001"}, ""),
        ({"y": f"{N_Y}.0", "x_mm": "48"}, ""),
        ({"y": "19.98"}, "encodedSpace/matrixSize/y is not a whole number"),
        ({"z": "nan"}, "encodedSpace/matrixSize/z is missing or not a number"),
        ({"y_mm": "wide"}, "fieldOfView_mm/y is missing or not a number"),
    ],
)
def test_numbers_of_another_type_are_rounded_or_named(
    tmp_path: Path, header: dict[str, Any], what: str
) -> None:
    path = Raw(tmp_path / "a.h5", volume(2), **header).measured().write()
    if what:
        assert what in next(iter(journal_of(path).skipped))
    else:
        np.testing.assert_allclose(np.stack(read(path)), volume(2), atol=0.5)


def test_a_three_d_header_a_hair_off_is_read(tmp_path: Path) -> None:
    raw = Raw(tmp_path / "a.h5", volume(4), z="3.99991").measured(three_d=True)
    np.testing.assert_allclose(np.stack(read(raw.write(three_d=True))), volume(4), atol=0.5)


def test_capitals_are_read_and_apple_s_companions_are_not(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    Raw(folder / "A.H5", volume(2)).measured().write()
    (folder / "._A.H5").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
    stored = bring("ismrmrd", folder, tmp_path / "s.h5")
    assert len(stored["image"]) == 2
    assert "left out" not in (tmp_path / "s.report.txt").read_text()


def test_coils_of_all_slices_are_needed(tmp_path: Path) -> None:
    raw = Raw(tmp_path / "a.h5", volume(2)).measured()
    z, y, _, samples, more = raw.lines[3]
    raw.lines[3] = (z, y, 0, samples[: COILS - 1], more)
    assert journal_of(raw.write()).skipped == {"a changing number of coils": 1}


def test_calibration_flags_still_pass_over_readouts(tmp_path: Path) -> None:
    raw = Raw(tmp_path / "a.h5", volume(2)).measured()
    raw.extra(ismrmrd.ACQ_IS_PARALLEL_CALIBRATION, segment=3)
    np.testing.assert_allclose(np.stack(read(raw.write())), volume(2), atol=0.5)
