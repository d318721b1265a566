"""``infomri``: the command line of the study centre and the researcher."""

import logging
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fl_server.commands.audit import audit
from fl_server.commands.benchmark import benchmark
from fl_server.commands.compare import compare
from fl_server.commands.init import init
from fl_server.commands.masks import masks_app
from fl_server.commands.model import model_app
from fl_server.commands.operations.backup import backup, restore
from fl_server.commands.operations.doctor import doctor
from fl_server.commands.operations.metrics import metrics
from fl_server.commands.operations.operator import operator_app
from fl_server.commands.operations.provision import provision_app
from fl_server.commands.operations.resend import resend
from fl_server.commands.prom import prom
from fl_server.commands.runs import Changes, follow, run, status, stop
from fl_server.commands.scans.diagnose import diagnose
from fl_server.commands.scans.reconstruct import reconstruct
from fl_server.commands.scans.segment import segment
from fl_server.commands.simulate import simulate
from fl_server.terminal.exit_codes import EPILOG, ended, interrupted
from infomri_core.commands.data import data_app
from infomri_core.machine.proxies import keep_loopback_direct
from infomri_core.machine.sqlite_uri import anchored
from infomri_core.plugins import registry as plugins
from infomri_core.system.paths import anchored_here
from infomri_core.tasks.registry import DEFAULT

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Train MR diagnosis across hospitals from sampled k-space, and audit what it gives away.",
    pretty_exceptions_enable=False,
    epilog=EPILOG,
)
for command in (
    audit,
    backup,
    benchmark,
    compare,
    diagnose,
    segment,
    doctor,
    follow,
    init,
    metrics,
    prom,
    reconstruct,
    resend,
    restore,
    run,
    simulate,
    status,
    stop,
):
    app.command()(command)
app.add_typer(data_app, name="data")
app.add_typer(masks_app, name="masks")
app.add_typer(model_app, name="model")
app.add_typer(operator_app, name="operator")
app.add_typer(provision_app, name="provision")


def main() -> None:
    """Run the command line and exit with a code of :mod:`fl_server.terminal.exit_codes`."""
    keep_loopback_direct()
    plugins.allow_installed()
    sys.exit(ended(app))


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the versions and stop.")
    ] = False,
    verbose: Annotated[
        int,
        typer.Option(
            "-v",
            "--verbose",
            count=True,
            metavar="",
            show_default=False,
            help="More messages; given twice, all of them.",
        ),
    ] = 0,
) -> None:
    context.obj = verbose
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
    # What a study does is on the screen already.
    logging.getLogger("infomri").setLevel(logging.WARNING)
    if version:
        from infomri_core.system.versions import versions

        print(versions("infomri"))
        raise typer.Exit


@app.command()
def demo(
    data: Annotated[str, typer.Option(help="Data URI; see docs/data.md")] = "phantom:",
    out: Annotated[Path | None, typer.Option(help="Folder; default runs/demo-TIME")] = None,
    width: Annotated[
        int | None, typer.Option(min=4, help="The network's base width; by default a small one")
    ] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Rounds of federated training")] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Optimizer steps a site and round")
    ] = None,
    attack_steps: Annotated[
        int | None, typer.Option(min=1, help="Optimizer steps of each learned attacker")
    ] = None,
    seed: Annotated[int, typer.Option(help="Root of every random number")] = 0,
    secure: Annotated[
        bool, typer.Option("--secure", help="The centre sees sums of updates only")
    ] = False,
    task: Annotated[
        str, typer.Option(help="What is learned: a task's kind, such as reconstruction")
    ] = DEFAULT,
    keep: Annotated[
        bool, typer.Option("--keep", help="The federation stays up; its commands are printed")
    ] = False,
    stop_kept: Annotated[
        bool, typer.Option("--stop", help="Stop a federation that stays up, and nothing else")
    ] = False,
) -> None:
    """Run a whole hospital federation on this machine, from k-space to the audited frontier.

    Starts a SuperLink with TLS and node authentication and a client for each hospital, trains,
    audits, prints the frontier and stops everything, with `--keep` only when it is told to.

    Example: `infomri demo --data slices:lgg_flair128.h5`
    """
    from fl_server.demo.plan import DemoOptions

    if stop_kept:
        from fl_server.demo.keep import stop_demo

        stop_demo(out, Console())
        return
    from fl_server.demo.run import run_demo

    out = out or Path("runs") / time.strftime("demo-%Y%m%d-%H%M%S")
    options = DemoOptions(
        *(width, rounds, steps, attack_steps, seed), secure=secure, task=task, keep=keep
    )
    with interrupted("everything that was started has been stopped"):
        run_demo(anchored_here(data), out, options, Console())


@app.command()
def train(
    plan: Annotated[Path, typer.Argument(help="The study's plan.toml")],
    data: Annotated[list[str], typer.Option(help="Data URI; several are pooled")],
    audit: Annotated[str, typer.Option(help="URI of the audit set: other patients")],
    changes: Changes = None,
    out: Annotated[Path | None, typer.Option(help="Folder; default runs/train-TIME")] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Continue the run in this folder, on the same data")
    ] = None,
    store: Annotated[str, typer.Option(help="MLflow's URI; default: mlflow.db in --out")] = "",
) -> None:
    """Run a study centrally, in one process without Flower, on the same code as a federation.

    All data are pooled as if one hospital held them: the reference for a federated run.

    Example: `infomri train plan.toml --data phantom:?seed=1 --audit phantom:?seed=2`
    """
    from fl_server.central import Places, train_centrally
    from infomri_core.plan.reading import read_plan

    out = out or Path("runs") / time.strftime("train-%Y%m%d-%H%M%S")
    resume = resume and resume.resolve()
    places = Places(
        resume.parent if resume else out,
        resume.name if resume else "",
        anchored(store, Path.cwd()),
    )
    pooled = [anchored_here(uri) for uri in data]
    study = read_plan(plan, changes or ())
    train_centrally(study, pooled, anchored_here(audit), places, Console())


@app.command()
def dashboard(
    run: Annotated[Path, typer.Option(help="A run's folder, as a demo or a study leaves it")],
    port: Annotated[int, typer.Option(help="Port on this machine")] = 8501,
) -> None:
    """Open the dashboard on a run: AUROC against PSNR over beta.

    Example: `infomri dashboard --run runs/demo-20260101-120000`
    """
    from fl_server.terminal.dashboard import serve_dashboard

    serve_dashboard(run, port)
