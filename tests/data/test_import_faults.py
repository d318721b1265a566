"""One bad file never ends an import: in no format, at no stage, whatever is raised."""

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from infomri_core.data.importing.formats import nifti, nifti_file, pictures
from infomri_core.data.importing.formats.dicom import pixels as dicom_pixels
from infomri_core.data.importing.formats.dicom import scan as dicom
from infomri_core.data.importing.formats.ismrmrd import scan as ismrmrd
from tests.data.test_import_ismrmrd import Raw
from tests.data.test_import_ismrmrd import volume as phantom
from tests.support.hospital_files import Series, blob
from tests.support.importing import bring

ERRORS = (ZeroDivisionError, AttributeError, RecursionError)


def good_and_bad(folder: Path, kind: str) -> None:
    """Two files or series of two patients: A1's is good, B2's is the one that will fail."""
    for patient in ("A1", "B2"):
        place = folder / patient
        place.mkdir(parents=True)
        if kind == "dicom":
            Series(patient, n=2).write(place)
        elif kind == "ismrmrd":
            subject = f"<patientID>{patient}</patientID>"
            Raw(place / "x.h5", phantom(), subject=subject).measured().write()
        elif kind == "nifti":
            data = np.stack([blob(16, 16, i) for i in range(2)], axis=-1).astype(np.float32)
            nibabel.Nifti1Image(data, np.eye(4)).to_filename(place / "x.nii")
        else:
            for i in range(2):
                picture = np.clip(blob(16, 16, i) / 5, 0, 255).astype(np.uint8)
                Image.fromarray(picture).save(place / f"{i}.png")


def failing(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, error: type) -> None:
    """Have ``module.name`` raise where one of its arguments is B2's."""
    real = getattr(module, name)

    def fail(*arguments: Any, **options: Any) -> Any:
        if "B2" in repr(arguments):
            raise error("a library's own words")
        return real(*arguments, **options)

    monkeypatch.setattr(module, name, fail)


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize(
    ("kind", "module", "name"),
    [
        ("dicom", dicom, "read_header"),
        ("dicom", dicom, "frames"),
        ("dicom", dicom, "_volume"),
        ("dicom", dicom_pixels, "stored_frames"),
        ("ismrmrd", ismrmrd, "open_hdf5"),
        ("ismrmrd", ismrmrd, "_scan"),
        ("ismrmrd", ismrmrd, "parse_document"),
        ("ismrmrd", ismrmrd, "_volume"),
        ("ismrmrd", ismrmrd, "_gather"),
        ("nifti", nifti, "_volume"),
        ("nifti", nifti_file, "_unpacked"),
        ("images", pictures.Image, "open"),
        ("images", pictures, "fingerprint"),
        ("images", pictures, "_decode"),
    ],
)
def test_whatever_fails_on_one_file_the_others_are_taken_and_it_has_its_reason(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    module: Any,
    name: str,
    error: type,
) -> None:
    good_and_bad(tmp_path / "in", kind)
    failing(monkeypatch, module, name, error)
    options = () if kind == "images" else ("--plane", "any")
    stored = bring(kind, tmp_path / "in", tmp_path / "s.h5", *options)
    assert len(stored["image"]) == 2 and len(set(stored["patient"])) == 1
    text = tmp_path.joinpath("s.report.json").read_text()
    assert sum(json.loads(text)["skipped"].values()) >= 1
    assert "own words" not in text + tmp_path.joinpath("s.private.csv").read_text()
