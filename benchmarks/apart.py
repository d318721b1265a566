"""A federation run from ``deploy/compose.yaml``: vault and courier apart, sites through the door.

``python -m benchmarks.apart --environment DIR`` (a virtual environment with this package that
every user may read), as root. Everything runs in a network namespace of its own. Prints a line a
check and ends with 1 when one of them does not hold.
"""

import argparse
import base64
import os
import pwd
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from http.client import HTTPSConnection
from pathlib import Path
from typing import final

import h5py
import numpy as np
import tomli_w

from benchmarks.sandbox import Engine, read_compose
from fl_server.operations.control import Control
from fl_server.operations.federation_folder import FederationFolder
from fl_server.serverapp import run_config
from infomri_core.data import open_dataset
from infomri_core.machine import processes

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
    crl = federation.authority.revocations
    (secrets / crl.name).write_bytes(crl.read_bytes())
    (secrets / "postgres_password").write_text("0123456789abcdef")
    (secrets / "desk_passwords").write_text("lead:{PLAIN}open sesame\n")
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


def postgres(folder: Path) -> list[str] | None:
    """The command of this machine's PostgreSQL on a fresh cluster with the user and database that
    the service makes; None where there is none."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        return None
    user, cluster = pwd.getpwnam("postgres"), folder / "postgres"
    cluster.mkdir(mode=0o700)
    os.chown(cluster, user.pw_uid, user.pw_gid)
    become = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    secret = folder / "secrets" / "postgres_password"
    initdb = [str(programs[-1] / "initdb"), "-U", "mlflow", "-A", "scram-sha-256"]
    line = [*become, *initdb, f"--pwfile={secret}", "-D", str(cluster)]
    subprocess.run(line, check=True, capture_output=True)
    single = [str(programs[-1] / "postgres"), "--single", "-D", str(cluster), "postgres"]
    made = b"create database mlflow"
    subprocess.run([*become, *single], input=made, check=True, capture_output=True)
    options = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={cluster}"]
    return [*become, str(programs[-1] / "postgres"), "-D", str(cluster), *options]


def at_the_desk(port: int, *, certificate: Path, path: str, password: str) -> tuple[int, bytes]:
    """Status and body of a GET through the desk's nginx; 0 where no one listens."""
    context = ssl.create_default_context(cafile=certificate)
    connection = HTTPSConnection("localhost", port, context=context, timeout=30)
    token = base64.b64encode(f"lead:{password}".encode()).decode()
    try:
        connection.request("GET", path, headers={"Authorization": f"Basic {token}"})
    except ConnectionError:
        return 0, b""
    answer = connection.getresponse()
    return answer.status, answer.read()


def peak_memory(process: int) -> int:
    """The largest resident memory so far (MiB), summed over a process and its descendants."""
    status = Path(f"/proc/{process}/status").read_text()
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    total = int(peak[1]) // 1024 if peak else 0
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return total + sum(peak_memory(int(child)) for child in children)


def plan() -> str:
    """A study of seconds."""
    table = {
        "study": {"name": "apart"},
        "task": {"labels": ["positive"], "shape": [32, 32]},
        "measurement": {"ratio_range": [0.05, 0.3], "accelerations": [4.0]},
        "model": {"width": 4},
        "training": {"rounds": 2, "local_steps": 2, "batch_size": 8},
        "evaluation": {"attacks": ["lmmse"], "attack_slices": 1},
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


@final
class Trial(ExitStack):
    """Services of the compose file in ``folder``, and what was seen of them."""

    def __init__(self, folder: Path, environment: Path) -> None:
        super().__init__()
        self.folder = folder
        self.certificate = folder / "secrets" / "ca.crt"
        self.held: list[bool] = []
        self.started: dict[str, subprocess.Popen] = {}
        compose = read_compose(DEPLOY / "compose.yaml", prepare(folder))
        desk = compose["services"]["desk"]["environment"]
        desk.update(INFOMRI_DASHBOARD_LISTEN="9443", INFOMRI_MLFLOW_LISTEN="9444")
        self.engine = Engine(compose, DEPLOY, folder, environment)

    def start(self, *names: str) -> None:
        """Start services; they end with the context."""
        for name in names:
            process = self.engine.start(name)
            self.started[name] = process
            self.callback(processes.stop, process, 5.0)

    def report(self, what: str, holds: bool) -> None:
        """Print and keep an outcome."""
        print(f"{'ok  ' if holds else 'FAIL'} {what}", flush=True)
        self.held.append(holds)

    def healthy(self, *names: str, seconds: float = 120.0) -> None:
        """Wait for the health checks of services."""
        for name in names:
            self.report(f"{name} healthy", within(seconds, partial(self.engine.healthy, name)))

    def stores(self) -> None:
        """MLflow on PostgreSQL."""
        command = postgres(self.folder)
        if command is None:
            print("skip  no PostgreSQL here: MLflow is out of reach, and the study continues")
            return
        database = processes.start(command, self.folder / "log" / "postgres.log")
        self.callback(processes.stop, database, 5.0)
        self.start("mlflow")
        self.healthy("mlflow", seconds=300.0)

    def federation(self) -> None:
        """A study over one site, whose vault and courier are apart, through the door."""
        self.start("superlink", "door", "figures", "vault")
        self.healthy("vault", "superlink")
        control = self.enter_context(Control("127.0.0.1:8000", self.certificate))
        control.register(self.folder / "federation" / "sites" / "north" / "node.pub", "north")
        state, text = self.folder / "volumes" / "vault-state", plan()
        (self.folder / "plan.toml").write_text(text)
        approve(self.folder / "plan.toml", state / "approved-plans")
        self.start("courier")
        run = control.submit(run_config(text))
        self.healthy("courier", "door", "figures")
        within(900, lambda: control.state(run).finished)
        outcome = control.state(run)
        self.report(f"study {outcome.outcome} {outcome.details}", outcome.outcome == "completed")
        self.report("the ledger is in the vault's volume", (state / "ledger.jsonl").exists())
        said = self.engine.log("courier").read_text()
        holds = "cannot open data, ledger and site key: holds" in said
        self.report("the courier cannot open data", holds)

    def recovery(self) -> None:
        """The centre's volume is lost; its backup knows the run and the site."""
        home, state = "/var/lib/infomri/centre", self.folder / "volumes" / "centre-state"
        options = ["--centre", "/etc/infomri/centre.toml", "--database", f"{home}/state.db"]
        saved = self.engine.call("superlink", ["infomri", "backup", f"{home}/saved", *options])
        self.report("the centre backed up while it runs", saved)
        processes.stop(self.started["superlink"], 5.0)
        for lost in (*state.glob("state.db*"), state / "runs"):
            shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
        put = self.engine.call("superlink", ["infomri", "restore", f"{home}/saved", *options])
        self.report("and restored", put and any(state.glob("runs/*/results.json")))
        self.start("superlink")
        self.healthy("superlink")
        with Control("127.0.0.1:8000", self.certificate) as control:
            known = [node.name for node in control.nodes()], [r.outcome for r in control.runs()]
        self.report("it knows its site and its run", known == (["north"], ["completed"]))

    def memory(self) -> None:
        """What each service took at most; a run's processes are gone by then."""
        for name, process in self.started.items():
            print(f"      {name}: {peak_memory(process.pid)} MiB")

    def desk(self) -> None:
        """Dashboard and MLflow behind the password."""
        self.start("dashboard")
        self.healthy("dashboard")
        self.start("desk")
        ask = partial(at_the_desk, certificate=self.certificate)
        within(20, lambda: ask(9443, path="/", password="guess")[0] == 401)
        self.report(
            "the desk asks for a password", ask(9444, path="/", password="guess")[0] == 401
        )
        page = ask(9443, path="/", password="open sesame")
        self.report("dashboard at the desk", page[0] == 200)
        listed = "/api/2.0/mlflow/experiments/search?max_results=10"
        status, body = ask(9444, path=listed, password="open sesame")
        self.report("the study is in MLflow at the desk", status == 200 and b'"apart"' in body)


def approve(plan_file: Path, approvals: Path) -> None:
    """As `infomri-client plan approve` in the vault's container does."""
    from infomri_core.plan.reading import read_plan

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
    with ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)  # services run as users of their own
        with Trial(folder.resolve(), options.environment.resolve()) as trial:
            trial.stores()
            trial.federation()
            trial.desk()
            trial.memory()
            trial.recovery()
    return 0 if all(trial.held) else 1


if __name__ == "__main__":
    sys.exit(main())
