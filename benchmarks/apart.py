"""A federation run from ``deploy/compose.yaml``: vault and courier apart, sites through the door.

``python -m benchmarks.apart --environment DIR`` (a virtual environment with this package that
every user may read), as root. Everything runs in a network namespace of its own. Prints a line a
check and ends with 1 when one of them does not hold.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import h5py
import numpy as np
import tomli_w

from benchmarks.sandbox import Engine, read_compose
from fl_server.app import run_config
from fl_server.control import Control
from fl_server.kits import FederationFolder
from infomri_core import processes
from infomri_core.data import open_dataset

DEPLOY = Path(__file__).parent.parent / "deploy"
PHANTOMS = "phantom:?patients=40&slices=2&size=32&seed=3&hospital=north&prevalence=0.4"
INSIDE = "INFOMRI_APART"


def archive(path: Path) -> None:
    """Phantoms as the slice archive that the shipped ``site.apart.toml`` names."""
    dataset = open_dataset(PHANTOMS)
    table = dataset.table
    images = dataset.images(range(len(table))).numpy()
    with h5py.File(path, "w") as file:
        file["image"] = (images * 60000).astype(np.uint16)
        file["label"] = table.labels[:, 0]
        file["patient"] = [str(name) for name in table.patients]
        file["split"] = [str(name) for name in table.split]


def prepare(folder: Path) -> dict[str, str]:
    """Data, keys and settings as an administrator lays them out; the variables of compose."""
    secrets = folder / "secrets"
    secrets.mkdir(parents=True)
    for name in ("data", "audit", "federation"):
        (folder / name).mkdir()
    archive(folder / "data" / "study.h5")
    archive(folder / "audit" / "audit.h5")
    federation = FederationFolder(folder / "federation")
    federation.ensure_server(["localhost"])
    federation.open_door(["localhost"], 8443)
    federation.add_site("north")
    with zipfile.ZipFile(folder / "federation" / "kits" / "north.zip") as kit:
        for name in kit.namelist():
            if name.endswith(("node.key", "ca.crt")):
                (secrets / Path(name).name).write_bytes(kit.read(name))
    for name in ("server.crt", "server.key"):
        (secrets / name).write_bytes((folder / "federation" / "server" / name).read_bytes())
    for name, uid in (("node.key", 10002), ("server.key", 10003)):
        (secrets / name).chmod(0o600)
        os.chown(secrets / name, uid, 10100)
    site = (DEPLOY / "site.apart.toml").read_text().replace("superlink.example.org:443", "HERE")
    (folder / "site.toml").write_text(site.replace("HERE", "localhost:8443"))
    centre = (DEPLOY / "centre.apart.toml").read_text()
    for key, steps in (("cnn_steps", 2000), ("unet_steps", 5000)):
        centre = centre.replace(f"{key} = {steps}", f"{key} = 3")
    (folder / "centre.toml").write_text(centre)
    return {
        "INFOMRI_DATA": str(folder / "data"),
        "INFOMRI_AUDIT": str(folder / "audit"),
        "INFOMRI_SITE": str(folder / "site.toml"),
        "INFOMRI_CENTRE": str(folder / "centre.toml"),
        "INFOMRI_SECRETS": str(secrets),
    }


def plan() -> str:
    """A study of seconds."""
    table = {
        "study": {"name": "apart"},
        "task": {"labels": ["label"], "shape": [32, 32]},
        "measurement": {"ratio_range": [0.05, 0.3], "accelerations": [4.0]},
        "model": {"width": 4},
        "training": {"rounds": 2, "local_steps": 2, "batch_size": 8},
        "evaluation": {"attacks": ["lmmse"], "replicates": 20, "attack_slices": 1},
        "arms": [{"sampler": "uniform"}],
    }
    return tomli_w.dumps(table)


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Whether ``condition`` comes to hold in time."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(1)
    return True


def check(folder: Path, environment: Path) -> bool:
    """Run it all; whether every check held."""
    engine = Engine(
        read_compose(DEPLOY / "compose.yaml", prepare(folder)), DEPLOY, folder, environment
    )
    outcomes: list[bool] = []

    def tell(what: str, holds: bool) -> bool:
        print(f"{'ok  ' if holds else 'FAIL'} {what}", flush=True)
        outcomes.append(holds)
        return holds

    with ExitStack() as stack:

        def start(name: str) -> None:
            stack.callback(processes.stop, engine.start(name), 5.0)

        for name in ("superlink", "door", "figures", "vault"):
            start(name)
        tell(
            "vault healthy, alone and without network", within(90, lambda: engine.healthy("vault"))
        )
        tell("SuperLink healthy", within(60, lambda: engine.healthy("superlink")))
        control = stack.enter_context(Control("127.0.0.1:8000", folder / "secrets" / "ca.crt"))
        control.register(folder / "federation" / "sites" / "north" / "node.pub", "north")
        start("courier")
        text = plan()
        (folder / "plan.toml").write_text(text)
        state = folder / "volumes" / "vault-state"
        approve(folder / "plan.toml", state / "approved-plans")
        run = control.submit(run_config(text))
        tell("courier healthy", within(60, lambda: engine.healthy("courier")))
        tell("door healthy", engine.healthy("door"))
        within(300, lambda: control.state(run).finished)
        outcome = control.state(run)
        tell(f"study {outcome.outcome} {outcome.details}".strip(), outcome.outcome == "completed")
        tell("the centre's figures are there", engine.healthy("figures"))
        tell("the ledger stands in the vault's volume", (state / "ledger.jsonl").exists())
        said = engine.log("courier").read_text()
        tell(
            "the courier could not open data",
            "cannot open data, ledger and site key: holds" in said,
        )
    return all(outcomes)


def approve(plan_file: Path, approvals: Path) -> None:
    """As `infomri-client plan approve` in the vault's container does."""
    from infomri_core.plan import read_plan

    approvals.write_text(f"{read_plan(plan_file).digest}  apart\n")
    os.chown(approvals, 10001, 10100)


def main() -> int:
    """The command line; starts itself again in a network namespace of its own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.apart", description=__doc__)
    parser.add_argument("--environment", type=Path, required=True)
    parser.add_argument("--folder", type=Path, help="kept; by default a folder that is removed")
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("only root may make sandboxes")
    if INSIDE not in os.environ:
        line = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
        inside = [*line, sys.executable, "-m", "benchmarks.apart", *sys.argv[1:]]
        return subprocess.run(inside, env={**os.environ, INSIDE: "1"}, check=False).returncode
    if options.folder:
        return 0 if check(options.folder.resolve(), options.environment.resolve()) else 1
    with tempfile.TemporaryDirectory() as folder:
        return 0 if check(Path(folder), options.environment.resolve()) else 1


if __name__ == "__main__":
    sys.exit(main())
