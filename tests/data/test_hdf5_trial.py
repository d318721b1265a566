"""HDF5 files that would hold or end their reader are refused: a child process reads them first."""

import os
import struct
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from infomri_core.data import open_dataset
from infomri_core.data.checking.columns import read_columns
from infomri_core.data.hdf5 import verdict
from infomri_core.data.hdf5.guarded import open_hdf5
from infomri_core.data.importing.choice import Choice
from infomri_core.data.importing.formats.ismrmrd.scan import scan_ismrmrd
from infomri_core.data.importing.patients import PatientRule
from infomri_core.data.importing.volume import Journal
from infomri_core.inference.scans import open_scan
from infomri_core.system.errors import InputError

Child = Callable[[str], None]
NO_END, CRASH = "whose reading has no end", "that crashes its reader"


@pytest.fixture(autouse=True)
def new_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second of CPU is far more than files of kilobytes take, and ends the others soon."""
    monkeypatch.setattr(verdict, "CPU_SECONDS", 1)


def good(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file["image"] = file["kspace"] = np.ones((4, 8, 8), np.float32)
        file["patient"] = np.array(list("abcd"), dtype=h5py.string_dtype())
        file["label"] = np.array([0, 1, 0, 1], np.uint8)
        file.attrs["patient_id"] = "a"
    return path


def looping(path: Path) -> Path:
    """Its heap of text has an object of -16 bytes: with its head of 16, the next one is itself."""
    data = bytearray(good(path).read_bytes())
    heap = data.index(b"GCOL")
    data[heap + 24 : heap + 32] = struct.pack("<q", -16)
    path.write_bytes(data)
    return path


def test_a_file_that_holds_hdf5_for_ever_is_refused_at_every_door(tmp_path: Path) -> None:
    path = looping(tmp_path / "a.h5")
    for opened in (
        lambda: open_hdf5(path),
        lambda: open_scan(str(path), (8, 8)),
        lambda: open_dataset(f"slices:{path}"),
        lambda: open_dataset(f"fastmri:{tmp_path}?size=8"),
        lambda: read_columns(path),
    ):
        with pytest.raises(InputError, match=NO_END):
            opened()
    with open_hdf5(good(tmp_path / "b.h5")) as file:
        assert file.attribute(None, "patient_id") == "a"


def test_an_import_leaves_it_out_and_goes_on(tmp_path: Path) -> None:
    looping(tmp_path / "a.h5")
    good(tmp_path / "b.h5")
    journal = Journal()
    assert not scan_ismrmrd(tmp_path, Choice(), PatientRule(), journal, lambda: None)
    assert journal.skipped == {
        "damaged or truncated ISMRMRD file": 1,
        "not an ISMRMRD file": 1,
    }


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Iterator[Child]:
    """In place of the child one that does as told when it is given a file."""
    trials = verdict.Trials()
    monkeypatch.setattr(verdict, "_of_process", lambda pid: trials)

    def does(answer: str) -> None:
        head = "import os, sys, time\nos.write(1, b'ready\\n')\nline = sys.stdin.readline()\n"
        monkeypatch.setattr(verdict, "COMMAND", (sys.executable, "-c", head + answer))

    yield does
    trials.end()


@pytest.mark.parametrize("answer", ["os.abort()", "os.kill(os.getpid(), 11)", "sys.exit(1)"])
def test_a_file_that_crashes_the_child_is_refused(
    tmp_path: Path, child: Child, answer: str
) -> None:
    child(f"import resource\nresource.setrlimit(4, (0, 0))\n{answer}")
    with pytest.raises(InputError, match=CRASH):
        open_hdf5(good(tmp_path / "a.h5"))


def test_a_child_that_sleeps_is_ended_by_the_clock(tmp_path: Path, child: Child) -> None:
    """No limit of CPU reaches a read that waits."""
    child("time.sleep(1e6)")
    with pytest.raises(InputError, match=NO_END):
        open_hdf5(good(tmp_path / "a.h5"))


def test_a_child_that_left_for_want_of_work_is_followed_by_another(
    tmp_path: Path, child: Child
) -> None:
    gone = tmp_path / "gone"
    child(
        f"if os.path.exists({str(gone)!r}): os.write(1, b'through\\n')\nopen({str(gone)!r}, 'w')",
    )
    open_hdf5(good(tmp_path / "a.h5")).close()
    assert gone.exists()


def test_where_no_child_can_be_started_nothing_is_read(
    tmp_path: Path, child: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    child("")
    monkeypatch.setattr(verdict, "COMMAND", (str(tmp_path / "none"),))
    with pytest.raises(InputError, match="no child process"):
        open_hdf5(good(tmp_path / "a.h5"))


def test_a_file_is_tried_once_and_again_when_it_changes(tmp_path: Path, child: Child) -> None:
    path, tries = good(tmp_path / "a.h5"), tmp_path / "tries"
    child(
        f"while line:\n open({str(tries)!r}, 'a').write('x'); os.write(1, b'through\\n')\n"
        " line = sys.stdin.readline()",
    )
    for _ in range(2):
        open_hdf5(path).close()
    assert tries.read_text() == "x"
    os.utime(path, (1, 1))
    open_hdf5(path).close()
    assert tries.read_text() == "xx"


def test_in_the_vault_without_a_network_the_trial_is_held_too(tmp_path: Path) -> None:
    code = """
    import sys
    from pathlib import Path
    from fl_client.isolation import confine
    from infomri_core.data.hdf5 import verdict
    from infomri_core.data.hdf5.guarded import open_hdf5
    verdict.CPU_SECONDS = 1
    try:
        confine.hide()
        confine.drop_network()
    except confine.Unavailable:
        sys.exit(77)
    open_hdf5(Path(sys.argv[1])).close()
    try:
        open_hdf5(Path(sys.argv[2]))
    except ValueError as error:
        sys.exit(0 if "no end" in str(error) else 3)
    """
    files = [str(good(tmp_path / "a.h5")), str(looping(tmp_path / "b.h5"))]
    command = [sys.executable, "-c", textwrap.dedent(code), *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode == 77:
        pytest.skip("not shown here")
    assert done.returncode == 0, done.stderr
