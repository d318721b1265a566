"""One study with everything real: vaults, couriers, SuperLink, and a SuperLink that is killed."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tomli_w
import torch

from fl_server import checkpoint
from fl_server.provision import SiteOptions, authority, site_kit
from infomri_core import processes
from infomri_core.plan import Plan, parse_plan
from tests.realfederation import Federation, wait_for
from tests.small import AUDIT_URI, local_sites, site_uri, small_table, study

pytestmark = [
    pytest.mark.processes,
    pytest.mark.timeout(400),
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning"),
]

CENTRE = {
    "audit": {"data": AUDIT_URI, "cnn_steps": 3, "unet_steps": 3, "reader_steps": 3},
    "centre": {"directory": "runs", "device": "cpu", "threads": 1},
}


def test_a_killed_superlink_and_a_resume_change_nothing(tmp_path: Path) -> None:
    plan = tomli_w.dumps(small_table(rounds=3, quorum=2, deadline_seconds=120.0))
    with Federation(tmp_path, standin=False) as federation:
        superlink = federation.start_superlink(tomli_w.dumps(CENTRE))
        federation.join_sites("a", "b", data=site_uri)
        first = federation.submit(plan)
        folder = tmp_path / "runs" / f"small-{first}"
        digest = parse_plan(plan).digest
        wait_for(lambda: rounds_done(folder, digest) >= 1, 120, federation.told)
        os.kill(superlink.pid, 9)
        federation.control.close()
        superlink.stop()
        federation.start_superlink(tomli_w.dumps(CENTRE), superlink.options.port)
        state = federation.finish(federation.submit(plan, resume=folder.name), 200)
        assert state.outcome == "completed", f"{state.details}\n{federation.told()}"
        rows = json.loads((folder / "results.json").read_text())["rows"]
        ledgers = [kit.folder / "state" / "ledger.jsonl" for kit in federation.kits.values()]
        assert rows and all(ledger.stat().st_size > 0 for ledger in ledgers)
        final = checkpoint.latest(folder / "checkpoints", digest)
    wait_for(lambda: federation.pids() == [], 15, lambda: str(federation.pids()))
    undisturbed = local_weights(parse_plan(plan), tmp_path / "local")
    assert final is not None
    for name, flat in final.arms.items():
        np.testing.assert_array_equal(flat, undisturbed[name])


def local_weights(plan: Plan, folder: Path) -> dict[str, np.ndarray]:
    """Final weights of the same study in this process, on the same number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        study(plan, local_sites(folder), folder).run()
    finally:
        torch.set_num_threads(before)
    saved = checkpoint.latest(folder / "run" / "checkpoints", plan.digest)
    assert saved is not None
    return dict(saved.arms)


def test_missing_data_is_told_with_its_remedy_and_ends_the_client(tmp_path: Path) -> None:
    options = SiteOptions("127.0.0.1:8000", f"slices:{tmp_path / 'none.h5'}")
    kit = site_kit(tmp_path / "north", "north", authority(tmp_path / "ca"), options)
    command = [processes.script("infomri-client"), "--config", str(kit.settings)]
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
