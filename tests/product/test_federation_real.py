"""One study with everything real: vaults, couriers, SuperLink, and a SuperLink that is killed."""

import json
import re
import subprocess
from pathlib import Path
from subprocess import Popen

import numpy as np
import pytest
import tomli_w
import torch

from fl_server.authority.certificates import SiteOptions, authority, site_kit
from fl_server.run import checkpoint
from infomri_core.machine import processes
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from tests.support.realfederation import wait_for
from tests.support.small import local_sites, small_table, study
from tests.support.tutorial import HOSPITALS, TwoHospitals, call

pytestmark = [
    pytest.mark.processes,
    pytest.mark.timeout(400),
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning"),
]


def test_a_killed_superlink_and_a_resume_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tutorial's two hospitals, command by command, with a SuperLink that dies in a round."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLWR_HOME", str(tmp_path / "flwr"))
    monkeypatch.setenv("COLUMNS", "200")
    plan = parse_plan(tomli_w.dumps(small_table(rounds=2, quorum=2, deadline_seconds=120.0)))
    with TwoHospitals(tmp_path, plan.text) as two:
        superlink = begun(two, plan)
        lead = two.start("infomri run", "run.log")
        folder = run_folder(two)
        wait_for(lambda: rounds_done(folder, plan.digest) >= 1, 120, two.told)
        superlink.kill()
        processes.stop(superlink)
        two.start_superlink()
        wait_for(lambda: lead.poll() is not None, 60, two.told)
        assert lead.returncode == 1
        assert f"infomri run --resume {folder.name}" in (tmp_path / "run.log").read_text()
        resumed = call("infomri", "run", "--resume", folder.name)
        assert "round 2/2" in resumed and "AUROC" in resumed
        check_afterwards(two, resumed)
        assert json.loads((folder / "results.json").read_text())["rows"]
        final = checkpoint.latest(folder / "checkpoints", plan.digest)
    assert two.left == set()
    wait_for(lambda: two.pids() == [], 15, lambda: str(two.pids()))
    undisturbed = local_weights(plan, tmp_path / "local")
    assert final is not None
    for name, flat in final.arms.items():
        np.testing.assert_array_equal(flat, undisturbed[name])


def begun(two: TwoHospitals, plan: Plan) -> Popen:
    """All is set up, and both hospitals have joined; the SuperLink."""
    two.type("infomri provision --server")
    superlink = two.start_superlink()
    assert "registered: north, south" in two.type("infomri provision --out")
    for hospital in HOSPITALS:
        two.open_kit(hospital)
        assert "0 errors" in two.type("infomri doctor", hospital)
        shown = two.type("infomri-client plan show", hospital)
        assert plan.digest in shown and "state at this site: not approved" in shown
        assert "is approved at this site" in two.type("infomri-client plan approve", hospital)
        two.start("infomri-client --config", f"{hospital}.log", hospital)
    return superlink


def run_folder(two: TwoHospitals) -> Path:
    """Where the run that was submitted keeps its files."""
    log = two.folder / "run.log"
    wait_for(lambda: "submitted" in log.read_text(), 30, two.told)
    return two.folder / "runs" / f"small-{log.read_text().split()[1]}"


def check_afterwards(two: TwoHospitals, resumed: str) -> None:
    """What can be asked once it is over: the runs, the same again, and what left."""
    number = re.findall(r"^run (\d+)", resumed, re.M)[0]
    runs = json.loads(call("infomri", "status", "--json"))
    assert [run["outcome"] for run in runs["runs"]] == ["completed", "failed"]
    assert {site["name"]: site["status"] for site in runs["sites"]} == {
        "north": "online",
        "south": "online",
    }
    assert f"run {number} completed" in call("infomri", "follow", number)
    for hospital in HOSPITALS:
        assert "evaluate" in two.type("infomri-client ledger show", hospital)
        assert "chain unbroken" in two.type("infomri-client ledger verify", hospital)
        config = ("--config", f"infomri-{hospital}/site.toml")
        call("infomri-client", "ledger", "export", f"{hospital}.csv", *config)
        assert "released" in (two.folder / f"{hospital}.csv").read_text()
        assert f"vault of {hospital}: waiting" in call("infomri-client", "status", *config)


def local_weights(plan: Plan, folder: Path) -> dict[str, np.ndarray]:
    """Final weights of the same study in this process, on the same number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        study(plan, local_sites(folder, HOSPITALS), folder).run()
    finally:
        torch.set_num_threads(before)
    saved = checkpoint.latest(folder / "run" / "checkpoints", plan.digest)
    assert saved is not None
    return dict(saved.arms)


def test_malformed_data_are_told_with_their_remedy_and_end_the_client(tmp_path: Path) -> None:
    (tmp_path / "none.h5").write_bytes(b"no HDF5")
    options = SiteOptions("127.0.0.1:8000", f"slices:{tmp_path / 'none.h5'}")
    kit = site_kit(tmp_path / "north", "north", authority(tmp_path / "ca"), options)
    client = processes.script("infomri-client")
    command = [client, "--exit-on-fault", "--config", str(kit.settings)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "none.h5: expected" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("stopped")


def test_unusable_settings_are_one_line_and_exit_code_two(tmp_path: Path) -> None:
    command = [processes.script("infomri-client"), "--config", str(tmp_path / "site.toml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("infomri-client: ") and done.stderr.count("\n") == 1


def rounds_done(folder: Path, digest: str) -> int:
    saved = checkpoint.latest(folder / "checkpoints", digest) if folder.exists() else None
    return saved.round if saved else 0
