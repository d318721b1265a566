"""An import that is killed, changed, or larger than the memory: whole or not there, and small."""

import itertools
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infomri_core.data.importing import run
from infomri_core.data.importing.choice import Choice
from infomri_core.data.importing.formats.dicom import pixels as dicom_pixels
from infomri_core.data.importing.volume import Frame, Journal, Volume
from tests.support import hospital_files as hospital
from tests.support.hospital_files import Series
from tests.support.importing import Quiet, bring, columns

SLOW = """
import sys, time
from pathlib import Path
from infomri_core.commands.data import data_app
from infomri_core.data.importing.formats.dicom import pixels as dicom_pixels
decode = dicom_pixels.stored_frames
def slowly(*arguments):
    time.sleep(0.05)
    return decode(*arguments)
dicom_pixels.stored_frames = slowly
data_app(sys.argv[1:])
"""


@pytest.mark.processes
def test_an_import_that_is_killed_leaves_nothing_half_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for patient in range(8):
        Series(f"A{patient}").write(tmp_path / "in" / str(patient))
    out, work = tmp_path / "s.h5", tmp_path / "s.h5.importing"
    arguments = ["import", "dicom", str(tmp_path / "in"), "--out", str(out)]
    arguments += ["--secret", str(tmp_path / "site.secret")]
    process = subprocess.Popen([sys.executable, "-c", SLOW, *arguments], stderr=subprocess.DEVNULL)
    while len(list(work.glob("*.json"))) < 3 and process.poll() is None:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(timeout=30) == -signal.SIGKILL
    assert not out.exists() and not list(tmp_path.glob("*.report.*"))
    done = len(list(work.glob("*.json")))
    assert done >= 3
    read: list[Any] = []
    decode = dicom_pixels.stored_frames
    monkeypatch.setattr(dicom_pixels, "stored_frames", lambda *a: read.append(a) or decode(*a))
    continued = bring("dicom", tmp_path / "in", out)
    assert len(read) == 4 * (8 - done)
    assert not work.exists()
    afresh = bring("dicom", tmp_path / "in", tmp_path / "t.h5")
    for name, column in afresh.items():
        np.testing.assert_array_equal(column, continued[name])


def test_memory_does_not_grow_with_the_study(tmp_path: Path) -> None:
    """Five volumes of 5 MB pass through far less than one volume's memory."""
    image = np.tile(np.random.default_rng(0).random((8, 8)), (25, 25)).astype(np.float32)

    def read(scratch: Path) -> Any:
        return itertools.repeat(Frame(image), 32)

    def scan(journal: Journal, tick: Any) -> list[Volume]:
        names = tuple((str(i),) for i in range(32))
        places = tuple(i / 31 for i in range(32))
        return [
            Volume(
                str(n), (), (), names, places, (200, 200), (1, 1), "axial", "", "", str(n), read
            )
            for n in range(5)
        ]

    target = run.Target(tmp_path / "s.h5", tmp_path / "secret")
    tracemalloc.start()
    run.import_study("noise", scan, Choice(), target, Quiet())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert columns(tmp_path / "s.h5")["image"].shape == (160, 200, 200)
    assert peak < 6 * image.nbytes, f"{peak / 1e6:.1f} MB"


@pytest.mark.processes
def test_a_multi_frame_file_larger_than_the_memory_that_is_allowed_is_read(tmp_path: Path) -> None:
    """64 MB in one object, with 40 MB of memory beyond what the libraries take."""
    frames = np.zeros((32, 1024, 1024), dtype=np.uint16)
    frames[:, 100:200, 50:300] = 700
    hospital.multi_frame(tmp_path / "in" / "big.dcm", "A1", frames, [1.0] * len(frames))
    arguments = ["import", "dicom", str(tmp_path / "in"), "--out", str(tmp_path / "s.h5")]
    arguments += ["--secret", str(tmp_path / "secret"), "--size", "64"]
    done = subprocess.run(
        [sys.executable, "-c", CONFINED, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert columns(tmp_path / "s.h5")["image"].shape == (32, 64, 64)


CONFINED = """
import re, resource, sys
from pathlib import Path
import pydicom.pixels.utils, pydicom.encaps, rich.progress
from infomri_core.commands.data import data_app
from infomri_core.data.importing import run
from infomri_core.data.importing.formats.dicom import scan as dicom
from infomri_core.data.importing.formats import pixels
status = Path('/proc/self/status').read_text()
limit = (int(re.search(r'VmData:\\s*(\\d+) kB', status)[1]) << 10) + (40 << 20)
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
try:
    bytearray(56 << 20)
except MemoryError:
    data_app(sys.argv[1:])
"""
