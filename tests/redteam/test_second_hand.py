"""Attacks of the known kinds by a second hand: files that hold or run something, numbers that a
ledger cannot hold, questions asked as something else."""

import contextlib
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from fl_client.memory.ledger import Ledger
from infomri_core.data import open_dataset
from infomri_core.data.importing.choice import Choice
from infomri_core.data.importing.formats.dicom.scan import scan_dicom
from infomri_core.data.importing.formats.ismrmrd.scan import scan_ismrmrd
from infomri_core.data.importing.formats.nifti import scan_nifti
from infomri_core.data.importing.formats.pictures import scan_pictures
from infomri_core.data.importing.patients import PatientRule
from infomri_core.data.importing.volume import Journal
from infomri_core.inference.scans import open_scan
from infomri_core.messages import ErrorReply, reply_from, wire
from infomri_core.system.errors import InputError
from tests.support.vault_fakes import (
    charges,
    encode,
    evaluate_task,
    jobs_in,
    make_settings,
    train_task,
)


class Runs:
    """Makes the file ``path`` when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self._path,))


def test_a_pickle_in_a_numpy_file_is_never_run(tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    array = np.empty(1, object)
    array[0] = Runs(proof)
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Runs(proof)))
    for name in ("a.npy", "b.npy"):
        with pytest.raises(InputError):
            open_scan(str(tmp_path / name), (8, 8))
    with zipfile.ZipFile(tmp_path / "c.npz", "w") as archive:
        for name in ("x_train", "y_train", "x_test", "y_test"):
            archive.write(tmp_path / "a.npy", f"{name}.npy")
    with pytest.raises(InputError):
        open_dataset(f"mnist:{tmp_path / 'c.npz'}?role=site")
    assert not proof.exists()


@pytest.mark.parametrize("name", ["a.h5", "a.dcm", "a.nii", "a.nii.gz", "a.png", "a"])
def test_a_pipe_among_the_files_holds_no_import(tmp_path: Path, name: str) -> None:
    """Opened, it would wait for a writer for ever; archives can hold one, and links to one."""
    folder = tmp_path / "in"
    folder.mkdir()
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(folder / name)
    (folder / f"linked-{name}").symlink_to(tmp_path / "pipe")
    choice = Choice(plane="any")
    for scan, ruled in (
        (scan_ismrmrd, True),
        (scan_nifti, True),
        (scan_pictures, True),
        (scan_dicom, False),
    ):
        rule = (PatientRule(),) if ruled else ()
        assert not scan(folder, choice, *rule, Journal(), lambda: None)  # type: ignore[operator]
    with pytest.raises(InputError):
        open_scan(str(folder / name), (8, 8))
    with pytest.raises(InputError):
        open_dataset(f"slices:{folder / name}")


@pytest.mark.parametrize("kind", ["reference", "region", "opaque", "bits"])
@pytest.mark.parametrize("name", ["image", "patient", "label"])
def test_a_column_of_another_kind_of_value_is_refused(
    tmp_path: Path, name: str, kind: str
) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"], file["patient"] = np.ones((4, 8, 8), np.uint16), np.arange(4)
        file["label"], file["other"] = np.array([0, 1, 0, 1], np.uint8), np.ones((4, 8))
        other, shape = file["other"], file[name].shape
        del file[name]
        if kind in ("reference", "region"):
            made = h5py.ref_dtype if kind == "reference" else h5py.regionref_dtype
            column = file.create_dataset(name, shape, made)
            for at in np.ndindex(shape):
                column[at] = other.ref if kind == "reference" else other.regionref[:2]
        elif kind == "opaque":
            file.create_dataset(name, shape, h5py.opaque_dtype(np.dtype("V8")))
        else:
            stored = h5py.h5t.STD_B8LE
            h5py.h5d.create(file.id, name.encode(), stored, h5py.h5s.create_simple(shape))
    with pytest.raises(InputError):
        open_dataset(f"slices:{tmp_path / 'a.h5'}")


@pytest.mark.parametrize("number", [10**4299, -(10**4000), 2**63], ids=["huge", "low", "64 bits"])
def test_a_round_that_is_no_number_of_a_machine_breaks_no_ledger(
    tmp_path: Path, number: int
) -> None:
    with jobs_in(tmp_path) as (jobs, site, ledger):
        for task in (train_task(round=number), evaluate_task(round=number)):
            reply = reply_from(wire.decode(jobs.handle(encode(task))))
            assert isinstance(reply, ErrorReply), reply
        assert site.calls == 0 and charges(ledger) == []
    path = make_settings(tmp_path).vault.state / "ledger.jsonl"
    with contextlib.closing(Ledger.open(path)) as again:
        again.check()
        assert len(again.entries()) == 2


def test_no_question_of_the_sites_own_tools_is_answered_to_the_courier(tmp_path: Path) -> None:
    with jobs_in(tmp_path) as (jobs, site, _):
        for kind in ("status", "Status", "status\x00", "evaluate ", "EVALUATE", "lost", "charge"):
            header = {**evaluate_task().to_message().header}
            message = wire.Message(kind, header, {})
            reply = reply_from(wire.decode(jobs.handle(wire.encode(message))))
            assert isinstance(reply, ErrorReply), kind
        assert site.calls == 0
