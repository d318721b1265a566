"""``infomri simulate``: a study over many sites of this machine, with the federation's own parts.

The ServerApp, its grid, centre.toml, checkpoints and results are those of a federation; a site is
a folder with a site.toml, whose ClientApp the engine calls. Everything lies in one folder:

    plan.toml
    centre/centre.toml, centre/RUN/   the study centre's settings, and what it leaves
    sites/NAME/                       site.toml, state (ledger, optimizer, key), client.log
    simulation.log                    what ServerApp and engine say
"""

import contextlib
import logging
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import tomli_w
import torch
from rich.console import Console

from fl_server.run.folder import run_name
from fl_server.serverapp import app, run_config
from fl_server.settings import CENTRE_FILE, Audit, CentreSettings, Mlflow, read_settings
from fl_server.simulation.engine import (
    Resources,
    environment,
    need_ray,
    simulated_grid,
    variables,
)
from fl_server.simulation.hospitals import Hospitals, divide
from fl_server.terminal.exit_codes import interrupted
from fl_server.terminal.follow_events import Follower
from infomri_core.arms.build import arm_sizes
from infomri_core.machine.hints import shell_command
from infomri_core.machine.interrupts import Interrupts
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import read_plan
from infomri_core.plugins import registry as plugins
from infomri_core.results.frontier import read_results
from infomri_core.results.table import print_frontier
from infomri_core.system.errors import InputError
from infomri_core.system.files import check_output
from infomri_core.training.optimizer_store import KEPT_ROUNDS

CLIENT_APP = "fl_client.simulated:app"
"""Named, not imported, as the app bundle names the courier: the study centre knows no site."""
_STORE_BYTES = 128 * 2**20


@dataclass(frozen=True)
class Simulated:
    """What a user says of a simulation. ``workers`` 0 is one a core. ``central``: arms that sites
    train alone are trained on all sites' data in one place, too."""

    n_sites: int
    data: str
    min_cohort: int
    workers: int = 0
    centre: Path | None = None
    central: bool = False


def simulate(plan: Plan, wanted: Simulated, out: Path, console: Console) -> None:
    """Run ``plan`` over simulated sites, leave everything in ``out``, print the frontier.

    Raises ``InputError`` for what cannot be simulated, ``StudyFailed`` when the study fails.
    """
    need_ray()
    if out.exists() and any(out.iterdir()):
        raise InputError(str(out), "an empty or new folder", "files", "choose another --out")
    hospitals = divide(plan, wanted.data, wanted.n_sites, wanted.min_cohort)
    out = out.resolve()
    _check_disk(plan, wanted.n_sites, out)
    _write(out, plan, hospitals, wanted)
    _run(out, plan, wanted.workers, "", console)


def resume(out: Path, workers: int, console: Console) -> None:
    """Go on with the simulation in ``out`` from its last whole round."""
    need_ray()
    out = out.resolve()
    check_output(out)
    runs = [path.parent.name for path in out.glob("centre/*/checkpoints")]
    if len(runs) != 1:
        got = ", ".join(runs) or "none"
        remedy = "name the folder that --out named"
        raise InputError(f"--resume {out}", "a simulation with one run", got, remedy)
    _run(out, read_plan(out / "plan.toml"), workers, runs[0], console)


def _run(out: Path, plan: Plan, workers: int, resumed: str, console: Console) -> None:
    from flwr.supercore.object_ref import load_app

    n_sites = len(list(out.glob("sites/*/site.toml")))
    resources = _resources(plan, n_sites, workers)
    settings = {CENTRE_FILE: str(out / "centre" / "centre.toml")}
    console.print(f"{n_sites} simulated sites in {resources.workers} processes; {out}")
    again = shell_command("infomri", "simulate", "--resume", out)
    stands = f"whole rounds are kept; `{again}` continues"
    with (
        environment(settings | variables(out / "sites")),
        interrupted(stands),
        _full_disk(f"make room; {stands}"),
        _logged_to(out / "simulation.log"),
        simulated_grid(load_app(CLIENT_APP, ImportError), n_sites, resources) as (grid, context),
        _stoppable(),
    ):
        name = resumed or run_name(plan, str(context.run_id))
        context.run_config.update(run_config(plan.text, resumed))
        with Follower(out / "centre" / name / "events.jsonl", console):
            app(grid, context)
    results = out / "centre" / name / "results.json"
    rows, meta = read_results(results)
    print_frontier(console, rows, meta)
    console.print(f"Results    {results}", soft_wrap=True)
    dashboard = shell_command("infomri", "dashboard", "--run", out)
    console.print(f"Dashboard  {dashboard}", soft_wrap=True, markup=False)


@contextlib.contextmanager
def _full_disk(continues: str) -> Iterator[None]:
    """The ServerApp says what a full disk has kept; how this simulation continues is added."""
    try:
        yield
    except InputError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        raise InputError(error.where, error.expected, error.got, continues) from error


def _resources(plan: Plan, n_sites: int, workers: int) -> Resources:
    workers = min(workers or _cores(), n_sites)
    on_their_way = 2 * workers * 4 * sum(arm_sizes(plan).values())
    return Resources(workers, torch.cuda.device_count(), _STORE_BYTES + 2 * on_their_way)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _check_disk(plan: Plan, n_sites: int, out: Path) -> None:
    """Each site keeps Adam's two moments of the last rounds, and its last reply."""
    kept = 8 * min(KEPT_ROUNDS, plan.training.rounds) + 4
    needed = n_sites * kept * sum(arm_sizes(plan).values())
    folder = next(path for path in (out, *out.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    if needed > free:
        expected = f"{needed / 2**30:.0f} GiB free for what {n_sites} sites keep between rounds"
        remedy = "fewer sites or arms, or another --out"
        raise InputError(str(out), expected, f"{free / 2**30:.0f} GiB", remedy)


def _write(out: Path, plan: Plan, hospitals: Hospitals, wanted: Simulated) -> None:
    centre = out / "centre"
    centre.mkdir(parents=True, exist_ok=True)
    (out / "plan.toml").write_text(plan.text, encoding="utf-8")
    settings = _centre(hospitals, wanted)
    (centre / "centre.toml").write_text(tomli_w.dumps(settings), encoding="utf-8")
    for name, uri in hospitals.sites.items():
        table = {
            "site": {"name": name},
            "superlink": {"address": "simulated:1", "insecure": True},
            "data": {"uri": uri},
            "vault": {"threads": 1},
            "policy": {
                "min_cohort": wanted.min_cohort,
                "approvals": "any",
                "cached_replies": 1,
                "image_arms": True,
                "plugins": plugins.installed_packages(),
            },
        }
        folder = out / "sites" / name
        folder.mkdir(parents=True)
        (folder / "site.toml").write_text(tomli_w.dumps(table), encoding="utf-8")


def _centre(hospitals: Hospitals, wanted: Simulated) -> dict[str, object]:
    """``centre.toml`` of the simulation: the user's, if there is one, but for where runs lie."""
    path = wanted.centre
    given = CentreSettings(Audit(hospitals.audit)) if path is None else read_settings(path)
    store = given.mlflow.tracking_uri or "sqlite:///../mlflow.db"
    artifacts = given.mlflow.artifacts or Path("../mlartifacts")
    pooled = list(hospitals.sites.values()) if wanted.central else list(given.central.data)
    return {
        "central": {"data": pooled},
        "audit": asdict(given.audit),
        "centre": asdict(given.centre) | {"directory": "."},
        "mlflow": asdict(Mlflow(store)) | {"artifacts": str(artifacts)},
    }


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM and a terminal that closes unwind as Ctrl-C does. Entered after Ray, which takes
    SIGTERM for itself."""
    with Interrupts():
        yield


@contextlib.contextmanager
def _logged_to(path: Path) -> Iterator[None]:
    """Whatever is logged goes to ``path``; the terminal is for the study's events."""
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    handler.setLevel(logging.INFO)
    loggers = [logging.getLogger(), logging.getLogger("flwr")]
    before = [(logger, logger.handlers, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [handler], False
    try:
        yield
    finally:
        for logger, handlers, propagate in before:
            logger.handlers, logger.propagate = handlers, propagate
        handler.close()
