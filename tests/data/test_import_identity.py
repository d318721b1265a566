"""What survives of a person: no name, date, id, UID or path, in anything that may leave."""

import hashlib
import hmac
import json
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
from pydicom.uid import generate_uid

from infomri_core.data.importing.identity import keyed, patient_code, site_secret
from infomri_core.system.errors import InputError
from tests.support import hospital_files as hospital
from tests.support.hospital_files import Series, write_labels
from tests.support.importing import bring, call


def leaving(out: Path) -> bytes:
    """Every byte of the archive (also of each slice unpacked) and of both reports."""
    texts = [path.read_bytes() for path in (out, *out.parent.glob(f"{out.stem}.report.*"))]
    assert len(texts) == 3
    with h5py.File(out) as file:
        texts += [file[name][:].tobytes() for name in file if file[name].dtype.kind != "O"]
    return b"\0".join(texts).lower()


def test_no_identifier_reaches_the_archive_or_the_report(tmp_path: Path) -> None:
    folder, out = tmp_path / "Zabriskie_P", tmp_path / "study.h5"
    tags = {"StudyID": "STUDY771", "DeviceSerialNumber": "SN4711", "PatientComments": "Widowed"}
    first = Series("MRN-0082134", "t2 Zabriskie knee", tags=tags)
    first.write(folder / "Philomena")
    Series("MRN-0099999").write(folder / "other", compressed=True)
    Series("MRN-0077777", tags={"Modality": "CT"}).write(folder / "ct")
    frames = np.random.default_rng(0).integers(0, 900, (3, 32, 32)).astype(np.uint16)
    hospital.multi_frame(folder / "e.dcm", "MRN-0055555", frames, [1, 1, 1])
    labels = write_labels(
        tmp_path / "l.csv",
        "patient,tear,name",
        "MRN-0082134,1,Zabriskie",
        "MRN-0099999,0,",
        "MRN-0055555,0,",
        "MRN-NOBODY,1,",
    )
    bring("dicom", folder, out, "--labels", labels, "--label", "tear")
    secret = (tmp_path / "site.secret").read_text().strip()
    kept = leaving(out)
    planted = [
        *("zabriskie", "philomena", "quintessa", "grimsby", "widowed", "sn4711", "study771"),
        *("mrn-", "0082134", "0099999", "nobody", hospital.BIRTH, hospital.STUDY_DATE, "101112"),
        *(first.series_uid, first.study_uid, generate_uid()[:20], "1.2.840", "acc", "dcm"),
        *("t2 ", "knee", str(tmp_path), secret),
    ]
    # Three letters may stand in compressed pixels by chance; longer plants cannot.
    told = {plant for plant in planted if len(plant) > 3 and plant.lower().encode() in kept}
    assert told == set()
    assert len(kept) > 3 * 32 * 32


def test_what_names_files_is_the_owners_alone_and_codes_lead_back_there(tmp_path: Path) -> None:
    Series("A1").write(tmp_path / "in" / "Doe")
    out = tmp_path / "s.h5"
    stored = bring("dicom", tmp_path / "in", out)
    private = tmp_path / "s.private.csv"
    assert f"taken,Doe t2_tse_tra,{stored['patient'][0]}" in private.read_text()
    for path in (private, tmp_path / "site.secret", tmp_path / "s.report.json"):
        assert path.stat().st_mode & 0o777 == 0o600
    assert out.stat().st_mode & 0o007 == 0
    found = call("code", "A1", "--secret", tmp_path / "site.secret")
    assert found.output.strip() == stored["patient"][0]


def test_the_same_secret_gives_the_same_codes_and_another_gives_others(tmp_path: Path) -> None:
    Series("A1").write(tmp_path / "in")
    first, second = (bring("dicom", tmp_path / "in", tmp_path / f"{n}.h5") for n in "ab")
    assert set(first["patient"]) == set(second["patient"])
    (tmp_path / "site.secret").unlink()
    third = bring("dicom", tmp_path / "in", tmp_path / "c.h5")
    assert set(first["patient"]) != set(third["patient"])


def test_the_code_is_an_hmac_whose_kinds_never_meet() -> None:
    secret = bytes(range(32))
    expected = hmac.new(secret, b"patient\nA1", hashlib.sha256).hexdigest()[:16]
    assert patient_code(secret, " A1 ") == "p" + expected
    assert keyed(secret, "part", "A1") != expected


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        ("ab" * 32, 0o644, "only its owner reads, got mode 644"),
        ("ab" * 8, 0o600, "32 bytes in hex, got 8"),
        ("no hex", 0o600, "a site's secret"),
    ],
)
def test_a_secret_that_is_open_or_broken_is_refused(
    tmp_path: Path, content: str, mode: int, message: str
) -> None:
    path = tmp_path / "secret"
    path.write_text(content)
    path.chmod(mode)
    with pytest.raises(InputError, match=message):
        site_secret(path)


def test_rows_do_not_stand_in_the_order_of_the_hospitals_ids(tmp_path: Path) -> None:
    for number in range(8):
        body = np.random.default_rng(number).random((6, 6, 2)).astype(np.float32)
        (tmp_path / "in").mkdir(exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(body, np.eye(4)), tmp_path / "in" / f"k{number}.nii")
    stored = bring("nifti", tmp_path / "in", tmp_path / "s.h5")
    assert sorted(stored["patient"]) == stored["patient"].tolist()
    secret = site_secret(tmp_path / "site.secret")
    assert {patient_code(secret, f"k{n}") for n in range(8)} == set(stored["patient"])


def test_refusals_and_the_report_count_and_name_rows_not_people(tmp_path: Path) -> None:
    Series("A1").write(tmp_path / "in")
    rows = ("Nemo,1", "A1,1", "Nobody,0")
    labels = write_labels(tmp_path / "l.csv", "patient,tear", *rows)
    out = tmp_path / "s.h5"
    bring("dicom", tmp_path / "in", out, "--labels", labels)
    report = json.loads(out.with_name("s.report.json").read_text())
    assert report["unknown_rows"] == [2, 4]
    with pytest.raises(InputError) as caught:
        write_labels(labels, "patient,tear", "A1,1", "A1,0")
        bring("dicom", tmp_path / "in", tmp_path / "t.h5", "--labels", labels)
    assert "rows 2 and 3" in str(caught.value) and "A1" not in str(caught.value)


def test_a_name_is_the_same_however_its_umlaut_is_written(tmp_path: Path) -> None:
    """macOS writes file names with two characters an umlaut, tables have one."""
    one, two = "M\u00fcller", "Mu\u0308ller"
    utf8 = {"SpecificCharacterSet": "ISO_IR 192"}
    Series(one, tags=utf8).write(tmp_path / "d/a")
    Series(two, tags=utf8).write(tmp_path / "d/b")
    labels = write_labels(tmp_path / "l.csv", "patient,tear", f"{two},1")
    found = bring("dicom", tmp_path / "d", tmp_path / "d.h5", "--labels", labels)
    assert len(set(found["patient"])) == 1 and set(found["label"].reshape(-1)) == {1}
    secret = site_secret(tmp_path / "site.secret")
    assert {patient_code(secret, one), patient_code(secret, f" {two}")} == set(found["patient"])


def test_bids_names_end_at_an_underscore_not_at_an_umlaut(tmp_path: Path) -> None:
    """Read as letters and digits alone, two people were one, 'sub-M'; endings may be in any
    case, and mixed."""
    image = nibabel.Nifti1Image(np.arange(1, 4097.0).reshape(16, 16, 16), np.diag([1, 1, 2, 1.0]))
    for name in ("M\u00fcller", "M\u00f6ller", "01-02", "01-03"):
        (tmp_path / f"n/sub-{name}").mkdir(parents=True)
        for ending in ("nii", "nii.gz"):
            nibabel.save(image, tmp_path / f"a.{ending}")
            mixed = tmp_path / f"n/sub-{name}/sub-{name}_T2w.{ending.title()}"
            (tmp_path / f"a.{ending}").rename(mixed)
    found = bring("nifti", tmp_path / "n", tmp_path / "n.h5")
    assert len(set(found["patient"])) == 4 and len(found["image"]) == 4 * 2 * 16
