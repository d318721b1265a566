"""Label tables of hospitals: whose a row is, how words are spelled, what no error shows."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from infomri_core.data.fastmri.annotations import (
    Annotation,
    check_volumes,
    group_labels,
    slice_labels,
)
from infomri_core.data.importing.tables.label_table import read_labels
from infomri_core.data.labels import array_labels
from infomri_core.data.split import check_split
from infomri_core.system.errors import InputError
from tests.support.hospital_files import Series, blob, write_labels
from tests.support.importing import bring

PATIENTS = ("A1", "B2", "C3")


def report(out: Path) -> dict[str, Any]:
    return dict(json.loads(out.with_name(f"{out.stem}.report.json").read_text()))


def nifti(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.stack([blob(16, 16, i) for i in range(3)], axis=-1).astype(np.float32)
    nibabel.Nifti1Image(data, np.eye(4)).to_filename(path)


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Three patients; the first two have one series UID, and file names repeat."""
    for patient, uid in zip(PATIENTS, ("1.3.9", "1.3.9", "1.3.8")):
        series = Series(patient, series_uid=uid, study_uid=f"1.2.{patient[1]}", n=3)
        series.write(tmp_path / "dicom" / patient)
        nifti(tmp_path / "nifti" / f"sub-{patient}" / "T1w.nii")
    nifti(tmp_path / "nifti" / "sub-C3" / "T2w.nii")
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "header", "rows", "labels", "left"),
    [
        ("dicom", "series,tear", ["1.3.9,1", "1.3.8,0"], [0, 0, 0], 6),
        ("dicom", "slice,tear", ["2,1"], None, 3),
        ("dicom", "patient,slice,tear", ["A1,2,1", "C3,1,0"], [0, 1], 0),
        ("dicom", "patient,series,tear", ["A1,1.3.9,1", "B2,1.3.9,0"], [0] * 3 + [1] * 3, 0),
        ("nifti", "series,tear", ["T1w,1", "T2w,0"], [0, 0, 0], 9),
        ("nifti", "series,tear", ["sub-A1/T1w.nii,1", "T2w,0"], [0] * 3 + [1] * 3, 0),
        ("nifti", "patient,slice,tear", ["sub-A1,1,1", "sub-C3,2,0"], [1], 2),
        ("nifti", "patient,series,tear", ["sub-A1,T1w,1", "sub-C3,T2w,0"], [0] * 3 + [1] * 3, 0),
        ("nifti", "patient,tear", ["sub-A1,1", "sub-C3,0"], [0] * 6 + [1] * 3, 0),
    ],
)
def test_a_row_that_fits_several_patients_or_series_labels_none_of_them(
    shared: Path, kind: str, header: str, rows: list[str], labels: list[int] | None, left: int
) -> None:
    table, out = write_labels(shared / "l.csv", header, *rows), shared / "s.h5"
    if labels is None:
        with pytest.raises(InputError, match=f"fits several patients, series or slices: {left}"):
            bring(kind, shared / kind, out, "--labels", table)
        return
    stored = bring(kind, shared / kind, out, "--labels", table)
    assert sorted(stored["label"].ravel().tolist()) == labels
    found = report(out)
    assert sum(n for why, n in found["unlabelled"].items() if "fits several" in why) == left
    doubt = [sentence for sentence in found["warnings"] if "fit several" in sentence]
    assert len(doubt) == bool(left)


def test_a_series_of_two_shapes_is_one_series_to_a_label_row(tmp_path: Path) -> None:
    for shape in ((16, 16), (24, 24)):
        Series("A1", shape=shape, series_uid="1.3.1", n=2).write(tmp_path / "in" / str(shape[0]))
    table = write_labels(tmp_path / "l.csv", "series,tear", "1.3.1,1")
    stored = bring("dicom", tmp_path / "in", tmp_path / "s.h5", "--labels", table, "--size", 16)
    assert stored["label"].ravel().tolist() == [1] * 4


@pytest.mark.parametrize(
    ("cells", "names", "values", "rows"),
    [
        (("yes", "y", "YES", "no"), ("YES", "no"), [0, 0, 0, 1], "2-3"),
        (("yes", "yes", "No", "n"), ("No", "yes"), [1, 1, 0, 0], "row 5"),
        (("1", "yes", "0", "No"), ("tear",), [1, 1, 0, 0], "3, 5"),
        (("Flu", "flu ", "flu", "cold"), ("cold", "flu"), [1, 1, 1, 0], "row 2"),
        (("T", "N", "M", "n"), ("M", "N", "T"), [2, 1, 0, 1], "row 5"),
        (("T", "N", "N", "T"), ("N", "T"), [1, 0, 0, 1], ""),
        (("0", "1", "1.0", ""), ("tear",), [0, 1, 1, None], ""),
    ],
)
def test_spellings_of_one_word_are_one_class_and_are_reported(
    tmp_path: Path, cells: tuple[str, ...], names: tuple[str, ...], values: list[int], rows: str
) -> None:
    lines = [f"P{i},{cell}" for i, cell in enumerate(cells)]
    table = read_labels(write_labels(tmp_path / "l.csv", "patient,tear", *lines))
    found = [row.labels and row.labels[0] for row in table.rows.values()]
    assert (table.names, found) == (names, values)
    assert [rows in sentence for sentence in table.warnings] == [True] * bool(rows)


def test_columns_of_yes_and_no_are_labels_as_columns_of_1_and_0_are(tmp_path: Path) -> None:
    lines = ("A,Yes,n,Nord,Train", "B,no,y,nord,validation", "C,1,0,nord ,train")
    header = "patient,tear,oedema,hospital,split"
    table = read_labels(write_labels(tmp_path / "l.csv", header, *lines))
    rows = list(table.rows.values())
    assert [row.labels for row in rows] == [(1, 0), (0, 1), (1, 0)]
    assert {row.hospital for row in rows} == {"nord"}
    assert [row.split for row in rows] == ["train", "val", "train"]
    assert [s.split("'")[1] for s in table.warnings] == ["tear", "oedema", "hospital", "split"]
    assert "Nord" not in " ".join(table.warnings)


def test_the_report_of_an_import_warns_of_joined_spellings(shared: Path) -> None:
    table = write_labels(shared / "l.csv", "patient,tear", "A1,Yes", "B2,y", "C3,no")
    bring("dicom", shared / "dicom", shared / "s.h5", "--labels", table)
    assert any(
        "column 'tear' were joined: row 3" in s for s in report(shared / "s.h5")["warnings"]
    )


SECRET = "MRN0012345"


@pytest.mark.parametrize(
    "cause",
    [
        lambda: check_volumes(
            (Annotation(SECRET, 0, False, "x", 7),), frozenset({"v"}), "t.csv", "the folder"
        ),
        lambda: group_labels((Annotation("v", 0, False, SECRET),), ("tear",), "t.csv"),
        lambda: slice_labels((Annotation("v", 12345, False, "x"),), {}, {"v": 3}, "t.csv"),
        lambda: array_labels(np.array(["a", SECRET]), "s.h5 'label'", ("a", "b")),
        lambda: array_labels(np.array([0, 12345]), "s.h5 'label'", ("a", "b")),
        lambda: array_labels(np.array([[0, 1], [1, 12345]]), "s.h5 'label'"),
        lambda: check_split(np.array(["p", "q"]), np.array(["train", SECRET]), "s.h5"),
        lambda: check_split(np.array([SECRET] * 2), np.array(["train", "val"]), "s.h5"),
    ],
)
def test_no_error_about_a_table_shows_a_cell_of_it(cause: Callable[[], object]) -> None:
    with pytest.raises(InputError) as raised:
        cause()
    assert "12345'" not in str(raised.value) and SECRET not in str(raised.value)
    assert " 12345" not in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        f"{SECRET},1\nMRN0067890,0\n",
        f"patient,tear\n,{SECRET}\n",
        f"patient,tear\nA1,1,{SECRET}\n",
        f"patient,tear,{SECRET},{SECRET}\nA1,1,0,0\n",
        f"patient,tear\n{SECRET},1\n{SECRET},0\n",
        f"patient,a,b\nA1,1,{SECRET}\n",
        f"patient,tear,\nA1,1,{SECRET}\n",
    ],
)
def test_no_error_of_a_label_table_shows_a_cell_of_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(InputError) as raised:
        read_labels(tmp_path / "l.csv")
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        "Patient,tear\nA1,1\nB2,0\n",
        "sep=;\nPATIENT;tear\nA1;1\nB2;0\n",
        "\ufeffsep=,\r\npatient,tear\r\nA1,yes\r\nB2,0\r\n",
        "sep=\t\npatient\ttear\nA1\t1.0\nB2\t0\n",
    ],
)
def test_tables_as_spreadsheets_write_them_are_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "l.csv").write_bytes(text.encode())
    table = read_labels(tmp_path / "l.csv")
    assert table.ids == ("patient",)
    assert {key: row.labels for key, row in table.rows.items()} == {("A1",): (1,), ("B2",): (0,)}


@pytest.mark.parametrize(
    ("text", "encoding", "expected"),
    [
        ("patient,tear\nA1,1\n", "utf-16", "another encoding; save it as CSV in UTF-8"),
        ("patient,tear\nM\u00fcller,1\n", "latin-1", "another encoding; save it"),
        ("patient,tear\nA1,1\0\n", "utf-8", "zero bytes"),
        ("patient,tear\nA1,1\nB2,0\nC3,-1\n", "utf-8", "row 4 .*another number; leave unc"),
        ("patient,tear\nA1,0.5\nB2,0\n", "utf-8", "row 2 .*another number"),
        ("sep=;\npatient;tear\nA1;1\nB2;0,25\n", "utf-8", "row 4 .*another number"),
        ("patient,tear\nA1,1e1\n", "utf-8", "row 2 .*another number"),
    ],
)
def test_a_number_that_is_no_class_is_no_class(
    tmp_path: Path, text: str, encoding: str, expected: str
) -> None:
    """-1 is uncertain in some tables, 0.5 a share: as classes of their own both were learned."""
    (tmp_path / "l.csv").write_bytes(text.encode(encoding))
    with pytest.raises(InputError, match=expected):
        read_labels(tmp_path / "l.csv")
