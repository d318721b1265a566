"""An import as a whole: labels joined, interrupted and continued, whole or not there, small."""

import json
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import fl_client.cli
import fl_server.cli
from infomri_core.data import open_dataset
from infomri_core.data.importing import run
from infomri_core.data.importing.choice import Choice
from infomri_core.data.importing.formats.dicom import pixels as dicom_pixels
from infomri_core.data.importing.formats.dicom import scan as dicom
from infomri_core.data.importing.formats.extra import need
from infomri_core.data.importing.tables.label_table import read_labels
from infomri_core.system.errors import InputError
from tests.support.hospital_files import Series, write_labels
from tests.support.importing import Quiet, bring, call


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for patient in ("A1", "B2", "C3"):
        Series(patient, study_uid=f"1.2.{patient[1]}", series_uid=f"1.3.{patient[1]}").write(
            tmp_path / "in" / patient
        )
    return tmp_path / "in"


@pytest.mark.parametrize(
    ("header", "rows", "expected"),
    [
        ("patient,tear", ["A1,1", "B2,0", "C3,1"], {"A1": [1] * 4, "B2": [0] * 4, "C3": [1] * 4}),
        ("study,tear", ["1.2.1,1", "1.2.2,0"], {"A1": [1] * 4, "B2": [0] * 4}),
        ("study,tear", ["ACCC3,1", "ACCB2,0"], {"C3": [1] * 4, "B2": [0] * 4}),
        ("series,tear", ["1.3.2,1", "1.3.3,0"], {"B2": [1] * 4, "C3": [0] * 4}),
        ("series,slice,tear", ["1.3.2,1,1", "1.3.2,3,0"], {"B2": [1, 0]}),
        ("patient;tear", ["A1;1", "B2;0"], {"A1": [1] * 4, "B2": [0] * 4}),
        ("patient,tear", ["A1,1", "B2,", "C3,?"], {"A1": [1] * 4}),
    ],
)
def test_labels_are_found_at_every_level_and_missing_ones_are_no_negatives(
    folder: Path, tmp_path: Path, header: str, rows: list[str], expected: dict[str, list[int]]
) -> None:
    labels = write_labels(tmp_path / "l.csv", header, *rows)
    stored = bring("dicom", folder, tmp_path / "s.h5", "--labels", labels)
    codes = {name: call("code", name, "--secret", tmp_path / "site.secret") for name in expected}
    found = {
        name: stored["label"][stored["patient"] == code.output.strip()].ravel().tolist()
        for name, code in codes.items()
    }
    assert found == expected
    assert len(stored["label"]) == sum(map(len, expected.values()))
    report = json.loads((tmp_path / "s.report.json").read_text())
    assert sum(report["unlabelled"].values()) == 12 - len(stored["label"])


@pytest.mark.parametrize(
    ("header", "rows", "names", "exclusive", "first"),
    [
        ("patient,a,b", ["A1,1,0", "B2,0,1", "C3,1,1"], ("a", "b"), False, [1, 0]),
        ("patient,kind", ["A1,flu", "B2,cold", "C3,flu"], ("cold", "flu"), True, [0, 1]),
        (
            "patient,grade",
            ["A1,2", "B2,0", "C3,1"],
            ("class0", "class1", "class2"),
            True,
            [0, 0, 1],
        ),
        (
            "patient,grade",
            ["A1,2.0", "B2,0.0", "C3,1"],
            ("class0", "class1", "class2"),
            True,
            None,
        ),
    ],
)
def test_labels_of_each_kind_open_as_themselves(
    folder: Path,
    tmp_path: Path,
    header: str,
    rows: list[str],
    names: tuple[str, ...],
    exclusive: bool,
    first: list[int] | None,
) -> None:
    labels = write_labels(tmp_path / "l.csv", header, *rows)
    out = tmp_path / "s.h5"
    bring("dicom", folder, out, "--labels", labels, "--hospital", "north")
    table = open_dataset(f"slices:{out}").table
    assert (table.label_names, table.exclusive) == (names, exclusive)
    code = call("code", "A1", "--secret", tmp_path / "site.secret").output.strip()
    if first is not None:
        assert table.labels[table.patients == code][0].tolist() == first
    assert set(table.hospital.tolist()) == {"north"}


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("person,tear", ["A1,1"], "a column patient, study, series or slice"),
        ("patient", ["A1"], "a column of labels, got ids alone"),
        ("patient,a,b", ["A1,1,0", "B2,0,x"], "row 3 column 'b': expected 0, 1 or nothing"),
        ("patient,tear", ["A1,1", ",0"], "row 3: expected an id"),
        ("patient,tear", ["A1,1,9"], "row 2: expected 2 cells"),
        ("patient,tear,tear", ["A1,1,1"], "each column once"),
        ("patient,note", [f"A{i},words{i}" for i in range(40)], "at most 32 classes, got 40"),
        ("patient,grade", ["A1,70000"], "at most 32 classes"),
        ("patient,tear,split", ["A1,1,train", "B2,0,"], "row 3 column 'split'"),
        ("series,tear,split", ["1.3.1,1,train", "1.3.2,0,dev"], "train, val or test, got another"),
        ("slice,tear", ["9,1", "8,0"], "none .*no row in the label table: 12"),
    ],
)
def test_label_tables_that_cannot_be_meant_are_refused(
    folder: Path, tmp_path: Path, header: str, rows: list[str], message: str
) -> None:
    labels = write_labels(tmp_path / "l.csv", header, *rows)
    with pytest.raises(InputError, match=message):
        bring("dicom", folder, tmp_path / "s.h5", "--labels", labels)
    assert not (tmp_path / "s.h5").exists() and not list(tmp_path.glob("*.importing"))


def test_a_label_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    labels = write_labels(tmp_path / "l.csv", "patient,tear", "A1,1")
    with pytest.raises(InputError, match="did you mean 'tear'"):
        read_labels(labels, ("tears",))
    with pytest.raises(InputError, match="a CSV in UTF-8"):
        read_labels(tmp_path / "none.csv")
    labels.write_bytes("patient,tear\nJosé,1\n".encode("latin-1"))
    with pytest.raises(InputError, match="a CSV in UTF-8"):
        read_labels(labels)


def test_an_archive_that_is_there_is_kept_unless_forced(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.h5"
    out.write_text("mine")
    with pytest.raises(InputError, match="--force"):
        bring("dicom", folder, out)
    assert out.read_text() == "mine"
    assert len(bring("dicom", folder, out, "--force")["image"]) == 12


@pytest.mark.parametrize(
    ("out", "message"),
    [("missing.csv", "ends in .h5"), ("file/s.h5", "a place to write to"), (".h5", "ends in")],
)
def test_a_place_that_cannot_be_written_is_refused_before_anything_is_read(
    folder: Path, tmp_path: Path, out: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(dicom, "walk", lambda folder: pytest.fail("read too early"))
    with pytest.raises(InputError, match=message):
        run.import_study(
            "DICOM",
            lambda *to: dicom.scan_dicom(folder, Choice(), *to),
            Choice(),
            run.Target(tmp_path / out, tmp_path / "secret"),
            Quiet(),
        )


def test_two_imports_do_not_write_one_archive(folder: Path, tmp_path: Path) -> None:
    from infomri_core.data.importing.staging import Workshop

    workshop = Workshop(tmp_path / "s.h5")
    with pytest.raises(InputError, match="another at work"):
        bring("dicom", folder, tmp_path / "s.h5")
    workshop.close(finished=True)
    assert len(bring("dicom", folder, tmp_path / "s.h5")["image"]) == 12


def test_ctrl_c_says_how_to_go_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "write_archive", interrupt)
    out = tmp_path / "s.h5"
    arguments = ("import", "dicom", folder, "--out", out, "--secret", tmp_path / "secret")
    done = call(*arguments)
    assert done.exit_code == 130
    assert "s.h5.importing; the same command continues" in done.stderr.replace("\n", " ")
    assert len(list((tmp_path / "s.h5.importing").glob("*.json"))) == 3 and not out.exists()


def test_a_ctrl_c_that_a_library_swallows_is_not_lost(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = dicom_pixels.stored_frames

    def swallow(*arguments: Any) -> Any:
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        return decode(*arguments)

    monkeypatch.setattr(dicom_pixels, "stored_frames", swallow)
    out = tmp_path / "s.h5"
    before = signal.getsignal(signal.SIGINT)
    done = call("import", "dicom", folder, "--out", out, "--secret", tmp_path / "secret")
    assert done.exit_code == 130 and not out.exists()
    assert len(list((tmp_path / "s.h5.importing").glob("*.json"))) == 1
    assert signal.getsignal(signal.SIGINT) is before


@contextmanager
def file_limit(n_bytes: int) -> Iterator[None]:
    """No file may grow beyond this: what a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_one_sentence_and_files_that_change_meanwhile_are_read_again(
    folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "s.h5"
    with file_limit(17_000), pytest.raises(InputError, match="File too large; fix that"):
        bring("dicom", folder, out)
    assert not out.exists()
    assert len(list((tmp_path / "s.h5.importing").glob("*.json"))) == 3
    Series("A1", tags={"RescaleSlope": 2}, n=2, series_uid="1.3.1").write(folder / "more")
    assert len(bring("dicom", folder, out)["image"]) == 14


def test_a_full_disk_while_pixels_are_read_is_the_same_sentence(
    folder: Path, tmp_path: Path
) -> None:
    with file_limit(3_000), pytest.raises(InputError, match="File too large; fix that"):
        bring("dicom", folder, tmp_path / "s.h5")
    assert not list(tmp_path.glob("s.h5*"))


def test_a_library_that_is_missing_is_named_with_its_extra() -> None:
    with pytest.raises(InputError, match=r"'no_such_library'.*infomri-federated\[import\]"):
        need("no_such_library")


def test_both_command_lines_offer_the_same_commands() -> None:
    for command_line in (fl_server.cli.app, fl_client.cli.app):
        done = CliRunner().invoke(command_line, ["data", "import", "--help"])
        assert done.exit_code == 0
        assert all(kind in done.output for kind in ("dicom", "ismrmrd", "nifti", "images"))
