"""Scans as hospitals hold them: read as imports read them, results laid back in place."""

import itertools
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest

from fl_server.inference.volumes.dicom import secondary_captures
from fl_server.inference.volumes.nifti import nifti_file
from fl_server.inference.volumes.segmentation import segmentation_object
from infomri_core.inference.origin import DicomOrigin, read_volume
from infomri_core.inference.scans import open_scan
from infomri_core.system.errors import InputError
from tests.support.hospital_files import AXIAL, CORONAL, NAME, SAGITTAL, Series, multi_frame
from tests.support.importing import bring

SHAPE = (24, 18)
ORIENTATIONS = (AXIAL, CORONAL, SAGITTAL, (0, -1, 0, 1, 0, 0), (0.8, 0.6, 0, -0.6, 0.8, 0))


def dicom(folder: Path, orientation: Any = AXIAL, patient: str = "A1") -> Path:
    Series(patient, n=4, shape=SHAPE, orientation=orientation).write(folder)
    return folder


@pytest.mark.parametrize("order", list(itertools.permutations(range(3)))[::2])
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, -1)])
def test_a_volume_of_nifti_comes_back_as_it_was(
    tmp_path: Path, order: tuple[int, ...], flips: tuple[int, ...]
) -> None:
    body = np.random.default_rng(0).uniform(1, 9, (7, 8, 5)).astype(np.float32).transpose(order)
    affine = np.eye(4)
    affine[:3, :3] = (np.diag([-1.0, -1.0, 3.0]) @ np.diag(flips))[:, order]
    affine[:3, 3] = (4, -5, 6)
    path = tmp_path / "a.nii.gz"
    nibabel.save(nibabel.Nifti1Image(body, affine), path)
    slices, origin = read_volume(path)
    (tmp_path / "b.nii.gz").write_bytes(nifti_file(slices, origin))
    back = nibabel.load(tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(back.get_fdata(), body)
    np.testing.assert_allclose(back.affine, affine)
    two = np.stack([slices, 2 * slices], -1)
    volume, _ = origin.placed(two)
    np.testing.assert_array_equal(volume[..., 1], 2 * body)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_series_as_nifti_lies_where_its_headers_say(tmp_path: Path, orientation: Any) -> None:
    slices, origin = read_volume(dicom(tmp_path / "in", orientation))
    volume, affine = origin.placed(slices)
    for path in (tmp_path / "in").iterdir():
        one = pydicom.dcmread(path)
        along = np.array(one.ImageOrientationPatient, float).reshape(2, 3)
        row, column = 5, 11
        place = np.array(one.ImagePositionPatient, float) + column * along[0] + row * along[1]
        voxel = np.linalg.inv(affine) @ [-place[0], -place[1], place[2], 1]
        at = tuple(np.round(voxel[:3]).astype(int))
        np.testing.assert_allclose(voxel[:3], at, atol=1e-5)
        assert volume[at] == one.pixel_array[row, column]


@pytest.mark.parametrize("orientation", ORIENTATIONS[:4])
@pytest.mark.parametrize("keep", [False, True])
def test_a_segmentation_refers_to_its_slices_and_comes_in_again(
    tmp_path: Path, orientation: Any, keep: bool
) -> None:
    folder = dicom(tmp_path / "in", orientation)
    slices, origin = read_volume(folder)
    assert isinstance(origin, DicomOrigin)
    labels = (slices > 300).astype(np.uint8) + (slices > 700)
    labels[0] = 0
    path = folder / "seg.dcm"
    path.write_bytes(segmentation_object(labels, ("Edge", "Core"), origin, keep))
    made = pydicom.dcmread(path)
    sources = {
        str(one.SOPInstanceUID): one
        for one in map(pydicom.dcmread, folder.iterdir())
        if one.Modality == "MR"
    }
    assert made.NumberOfFrames == len(made.PerFrameFunctionalGroupsSequence)
    for group, stored in zip(made.PerFrameFunctionalGroupsSequence, made.pixel_array):
        (image,) = group.DerivationImageSequence[0].SourceImageSequence
        source = sources[image.ReferencedSOPInstanceUID]
        assert image.ReferencedSOPClassUID == source.SOPClassUID
        place = group.PlanePositionSequence[0].ImagePositionPatient
        np.testing.assert_allclose(place, source.ImagePositionPatient, atol=1e-6)
        segment = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        values = (source.pixel_array > 300).astype(int) + (source.pixel_array > 700)
        np.testing.assert_array_equal(stored > 0, values == segment)
    (series,) = made.ReferencedSeriesSequence
    assert {i.ReferencedSOPInstanceUID for i in series.ReferencedInstanceSequence} == set(sources)
    text = path.read_bytes()
    assert (NAME.encode() in text) == keep and (made.PatientID == "A1") == keep
    assert made.get("PatientIdentityRemoved") == (None if keep else "YES")
    if keep:
        options = ("--masks", folder, "--outline", "Edge", "--outline", "Core")
        found = bring("dicom", folder, tmp_path / "s.h5", *options)
        np.testing.assert_array_equal(found["mask"], labels)


def test_required_attributes_of_a_segmentation_are_there(tmp_path: Path) -> None:
    slices, origin = read_volume(dicom(tmp_path / "in"))
    assert isinstance(origin, DicomOrigin)
    path = tmp_path / "seg.dcm"
    path.write_bytes(segmentation_object(slices > 300, ("Edge",), origin, False))
    made = pydicom.dcmread(path)
    # Type 1 of the modules of PS3.3 A.51: they hold a value.
    one = """StudyInstanceUID SeriesInstanceUID SeriesNumber Modality FrameOfReferenceUID
        Manufacturer ManufacturerModelName DeviceSerialNumber SoftwareVersions InstanceNumber
        ContentDate ContentTime NumberOfFrames ImageType ContentLabel SegmentationType
        SegmentSequence DimensionOrganizationSequence DimensionIndexSequence
        LossyImageCompression Rows Columns BitsAllocated BitsStored SamplesPerPixel
        PhotometricInterpretation SOPClassUID PixelData SharedFunctionalGroupsSequence
        PerFrameFunctionalGroupsSequence SOPInstanceUID"""
    assert [name for name in one.split() if made.get(name) in (None, "")] == []
    # Type 2: they may be empty.
    two = "PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime StudyID "
    two += "ReferringPhysicianName AccessionNumber PositionReferenceIndicator ContentDescription "
    two += "ContentCreatorName"
    assert [name for name in two.split() if name not in made] == []
    (segment,) = made.SegmentSequence
    assert segment.SegmentAlgorithmType == "AUTOMATIC" and segment.SegmentAlgorithmName
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue
    with pytest.raises(InputError, match="an outline on a slice"):
        segmentation_object(0 * slices, ("Edge",), origin, False)


def test_secondary_captures_hold_the_values_and_nobody_by_default(tmp_path: Path) -> None:
    slices, origin = read_volume(dicom(tmp_path / "in", SAGITTAL))
    assert isinstance(origin, DicomOrigin)
    for keep in (False, True):
        made = secondary_captures({"mean": slices, "deviation": slices / 1e4}, origin, keep)
        objects = {}
        for name, files in made.items():
            for number, content in enumerate(files):
                path = tmp_path / f"{name}{number}.dcm"
                path.write_bytes(content)
                objects[name, number] = one = pydicom.dcmread(path)
                assert (NAME.encode() in content) == keep
                assert one.ImageType[0] == "DERIVED" and one.ConversionType == "WSD"
                header = origin.headers[number]
                np.testing.assert_allclose(one.ImagePositionPatient, header.frame_origin)
                values = one.pixel_array * float(one.RescaleSlope)
                expected = origin.undone(slices)[number] / (1 if name == "mean" else 1e4)
                np.testing.assert_allclose(values, expected, atol=expected.max() / 4e4)
        assert len({one.SOPInstanceUID for one in objects.values()}) == 8
        assert len({one.SeriesInstanceUID for one in objects.values()}) == 2
        assert len({one.StudyInstanceUID for one in objects.values()}) == 1


def test_frames_of_one_object_are_referred_to_by_number(tmp_path: Path) -> None:
    frames = np.stack([np.full(SHAPE, 100 + 50 * k) for k in range(3)]).astype(np.uint16)
    frames[:, 4:9, 5:9] = 900
    multi_frame(tmp_path / "in" / "a.dcm", "A1", frames, [1.0, 1.0, 1.0])
    slices, origin = read_volume(tmp_path / "in" / "a.dcm")
    assert isinstance(origin, DicomOrigin)
    labels = (slices > 800).astype(np.uint8)
    (tmp_path / "in" / "seg.dcm").write_bytes(segmentation_object(labels, ("X",), origin, True))
    found = bring("dicom", tmp_path / "in", tmp_path / "s.h5", "--masks", tmp_path / "in")
    np.testing.assert_array_equal(found["mask"], labels)


def test_what_is_no_volume_of_the_models_is_refused(tmp_path: Path) -> None:
    folder = dicom(tmp_path / "in")
    with pytest.raises(InputError, match=r"slices of shape \(32, 32\)"):
        open_scan(str(folder), (32, 32))
    assert open_scan(str(folder), SHAPE).origin is not None
    dicom(folder / "more", patient="B2")
    with pytest.raises(InputError, match=r"one DICOM series.*got 2 of them"):
        open_scan(str(folder), SHAPE)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="got 0 of them"):
        open_scan(str(tmp_path / "empty"), SHAPE)
    for name, data in (("a.nii", b"no"), ("b.nii.gz", b"no"), ("c.dcm", b"no")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError):
            open_scan(str(tmp_path / name), SHAPE)
    signed = np.full((*SHAPE, 3), -1.0, np.float32)
    nibabel.save(nibabel.Nifti1Image(signed, np.diag([-1, -1, 3, 1])), tmp_path / "s.nii")
    with pytest.raises(InputError, match="negative values"):
        open_scan(str(tmp_path / "s.nii"), SHAPE[::-1])
    both = np.ones((*SHAPE, 3, 2), np.float32)
    nibabel.save(nibabel.Nifti1Image(both, np.eye(4)), tmp_path / "t.nii")
    with pytest.raises(InputError, match="one volume of three axes"):
        open_scan(str(tmp_path / "t.nii"), SHAPE)
