"""The demo: the study it designs for each kind of data, and the whole of it as a user runs it."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from fl_client.memory.ledger import read_ledger
from fl_client.settings import read_settings
from fl_server.authority.certificates import authority
from fl_server.demo.plan import DemoOptions, design
from fl_server.demo.run import Interrupts, provide_sites
from infomri_core.data import open_dataset
from infomri_core.machine import processes
from infomri_core.plan.reading import parse_plan
from infomri_core.secagg.trust import read_trust
from infomri_core.system.errors import InputError
from tests.data.test_data_fastmri import HEADER, write_volume


def patients(uri: str) -> set[str]:
    return {str(p) for p in open_dataset(uri).table.patients}


def an_archive(path: Path, n_hospitals: int = 2) -> str:
    generator = np.random.default_rng(0)
    n_patients, n_slices = 60, 2
    n = n_patients * n_slices
    with h5py.File(path, "w") as file:
        file["image"] = generator.random((n, 32, 32)).astype(np.float32)
        file["label"] = generator.integers(0, 2, n).astype(np.uint8)
        file["patient"] = [f"p{i // n_slices}" for i in range(n)]
        file["hospital"] = [f"H{i // n_slices % n_hospitals}" for i in range(n)]
    return f"slices:{path}"


def test_phantom_hospitals_differ_in_prevalence_and_share_no_patient() -> None:
    study = design("phantom:", DemoOptions())
    plan = parse_plan(study.plan)
    tables = {name: open_dataset(uri).table for name, uri in study.sites.items()}
    rates = [table.labels.mean() for table in tables.values()]
    assert len(tables) == 3 == plan.training.quorum
    assert len({round(float(rate), 2) for rate in rates}) == 3
    groups = [patients(uri) for uri in (*study.sites.values(), study.audit)]
    assert sum(map(len, groups)) == len(set().union(*groups))
    assert {(arm.sampler, arm.beta > 0) for arm in plan.arms} == {
        ("infomri", False),
        ("infomri", True),
        ("oracle", False),
        ("variable-density", False),
    }
    assert [arm.beta for arm in plan.arms if arm.alone] == [0.0]


def test_on_real_data_the_audit_set_is_a_tenth_that_no_site_has(tmp_path: Path) -> None:
    study = design(an_archive(tmp_path / "a.h5"), DemoOptions())
    assert set(study.sites) == {"H0", "H1"}
    groups = [patients(uri) for uri in (*study.sites.values(), study.audit)]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 60
    assert 3 <= len(groups[-1]) <= 6


def digits(folder: Path) -> str:
    pictures = np.random.default_rng(0).integers(0, 256, (200, 28, 28), dtype=np.uint8)
    labels = (np.arange(200) % 10).astype(np.uint8)
    parts = {"train_images": pictures, "train_labels": labels}
    parts |= {"test_images": pictures[::4] // 2, "test_labels": labels[::4]}
    np.savez(folder / "mnist.npz", **parts)
    return f"mnist:{folder / 'mnist.npz'}"


def knees(folder: Path) -> str:
    names = [f"file1{number:06d}" for number in range(30)]
    for number, name in enumerate(names):
        write_volume(folder / "singlecoil_train" / f"{name}.h5", f"patient{number}", seed=number)
    rows = [f"{name},2,No,1,2,3,4,Meniscus Tear" for name in names[::2]]
    (folder / "knee.csv").write_text(HEADER + "\n".join(rows) + "\n")
    (folder / "knee_file_list.csv").write_text("\n".join(names))
    return f"fastmri:{folder / 'singlecoil_train'}?labels={folder / 'knee.csv'}&size=32"


@pytest.mark.parametrize("written", [digits, knees])
def test_what_is_not_dealt_yet_is_dealt_to_three_hospitals_and_the_audit(
    written: Callable[[Path], str], tmp_path: Path
) -> None:
    study = design(written(tmp_path), DemoOptions())
    plan = parse_plan(study.plan)
    tables = [open_dataset(uri).table for uri in (*study.sites.values(), study.audit)]
    assert len(study.sites) == 3 == plan.training.quorum
    assert all(table.label_names == plan.task.labels for table in tables)
    groups = [{str(name) for name in table.patients} for table in tables]
    assert all(groups) and sum(map(len, groups)) == len(set().union(*groups))


def test_hospitals_of_a_demo_know_each_others_vaults(tmp_path: Path) -> None:
    study = design("phantom:", DemoOptions(secure=True))
    plan = parse_plan(study.plan)
    assert plan.aggregation.secure and plan.training.quorum == 3
    for kit in provide_sites(tmp_path, study, "localhost:1", authority(tmp_path / "ca")):
        secure = read_settings(kit.settings).secure
        assert set(read_trust(secure.key, secure.trusted, kit.name).sites) == set(study.sites)
    assert study.note == ""
    exact = design(knees(tmp_path), DemoOptions(secure=True))
    assert not parse_plan(exact.plan).evaluation.noise and "scores do not" in exact.note
    assert not any(arm.alone for arm in parse_plan(exact.plan).arms)
    with pytest.raises(InputError, match="--secure: expected data of 3 hospitals"):
        design(an_archive(tmp_path / "a.h5"), DemoOptions(secure=True))


def test_data_that_cannot_be_demonstrated_are_refused() -> None:
    with pytest.raises(InputError, match="phantom"):
        design("dicom:/somewhere", DemoOptions())


def test_options_of_the_demos_own_phantoms_are_refused_not_ignored() -> None:
    with pytest.raises(InputError, match="phantom: alone"):
        design("phantom:?size=32", DemoOptions())


def test_an_interrupt_that_was_swallowed_is_raised_at_the_next_safe_place() -> None:
    interrupts = Interrupts()
    try:
        interrupts.check()
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
        signal.raise_signal(signal.SIGTERM)
    finally:
        interrupts.restore()


def run_demo(out: Path, *options: str) -> subprocess.Popen[str]:
    command = [processes.script("infomri"), "demo", "--out", str(out), "--width", "4"]
    return subprocess.Popen(
        [*command, "--rounds", "1", "--steps", "2", "--attack-steps", "2", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def processes_of(folder: Path) -> list[str]:
    """Command lines of living processes that mention ``folder``."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line:
            found.append(line)
    return found


def gone(folder: Path, patience: float = 20.0) -> list[str]:
    until = time.monotonic() + patience
    while processes_of(folder) and time.monotonic() < until:
        time.sleep(0.2)
    return processes_of(folder)


@pytest.mark.processes
def test_one_command_leaves_results_figure_ledgers_and_store_and_no_process(
    tmp_path: Path,
) -> None:
    """On an archive, and under secure aggregation; the next begins on phantoms, without."""
    out, data = tmp_path / "demo", an_archive(tmp_path / "study.h5", n_hospitals=3)
    process = run_demo(out, "--data", data, "--secure")
    printed, _ = process.communicate(timeout=280)
    assert process.returncode == 0, printed
    assert "AUROC" in printed and "infomri dashboard --run" in printed
    rows = json.loads((out / "results.json").read_text())["rows"]
    assert {row["acceleration"] for row in rows} == {16, 32, 64, 128, 256}
    assert len(rows) == 5 * 5
    assert all({"lmmse", "cnn", "unet"} <= set(row["psnr"]) for row in rows)
    assert (out / "frontier.png").stat().st_size > 10_000
    assert (out / "mlflow.db").exists()
    for name in ("H0", "H1", "H2"):
        entries = read_ledger(out / "ledgers" / f"{name}.jsonl")
        kinds = [entry.kind for entry in entries if entry.kind != "charge"]
        assert [e.job for e in entries if e.kind == "charge"] == ["enrol", "train", "evaluate"]
        assert kinds == ["card", "announced", "shared", "masked", "unmasked", "evaluated"]
    assert "Secure aggregation was used" in (out / "privacy-report.html").read_text()
    assert gone(out) == []


@pytest.mark.processes
def test_ctrl_c_stops_every_process(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    process = run_demo(out)
    until = time.monotonic() + 120
    while not list(out.glob("sites/*/client.log")) and time.monotonic() < until:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=90)
    assert process.returncode == 130, printed
    assert "stopped" in printed
    assert gone(out) == []
