"""``infomri``: the command line of the study centre and the researcher."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fl_server.commands.audit import audit
from fl_server.commands.backup import backup, restore
from fl_server.commands.diagnose import diagnose
from fl_server.commands.doctor import doctor
from fl_server.commands.masks import masks_app
from fl_server.commands.metrics import metrics
from fl_server.commands.model import model_app
from fl_server.commands.provision import provision
from fl_server.commands.resend import resend
from fl_server.roster import StudyFailed
from infomri_core import __version__
from infomri_core.commands.data import data_app
from infomri_core.errors import InputError
from infomri_core.plan import read_plan

BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Train MR diagnosis across hospitals from sampled k-space, and audit what it gives away.",
    pretty_exceptions_enable=False,
)
app.command()(audit)
app.command()(backup)
app.command()(diagnose)
app.command()(doctor)
app.command()(metrics)
app.command()(provision)
app.command()(resend)
app.command()(restore)
app.add_typer(data_app, name="data")
app.add_typer(masks_app, name="masks")
app.add_typer(model_app, name="model")

SuperLinkName = Annotated[
    str | None,
    typer.Option("--superlink", help="A connection of Flower's config.toml; default: its default"),
]


def main() -> None:
    """Run the command line; errors are one paragraph on stderr and an exit code.

    0: done; 1: the study failed; 2: bad input; 130: interrupted.
    """
    console = Console(stderr=True, highlight=False)
    try:
        app()
    except InputError as error:
        console.print(f"[bold red]Error[/bold red] {_safe(error)}", soft_wrap=True)
        sys.exit(BAD_INPUT)
    except StudyFailed as error:
        console.print(f"[bold red]Study failed[/bold red] {_safe(error)}", soft_wrap=True)
        sys.exit(FAILED)


@contextmanager
def interrupted(sentence: str) -> Iterator[None]:
    """Turn Ctrl-C into a sentence that says how things stand, and its exit code."""
    try:
        yield
    except KeyboardInterrupt:
        Console(stderr=True).print(f"Interrupted: {sentence}.", soft_wrap=True, markup=False)
        raise typer.Exit(INTERRUPTED) from None


def _safe(error: Exception) -> str:
    return str(error).replace("[", "\\[")


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the versions and stop.")
    ] = False,
) -> None:
    if version:
        import flwr
        import torch

        device = "CUDA" if torch.cuda.is_available() else "CPU"
        versions = f"Flower {flwr.__version__}, torch {torch.__version__}"
        print(f"infomri {__version__}, {versions}, {device}")
        raise typer.Exit


@app.command()
def demo(
    data: Annotated[str, typer.Option(help="Data URI; see docs/data.md")] = "phantom:",
    out: Annotated[Path | None, typer.Option(help="Folder; default runs/demo-<time>")] = None,
    width: Annotated[
        int, typer.Option(min=4, help="ResNet18's base width; 64 is the full one")
    ] = 16,
    rounds: Annotated[int | None, typer.Option(min=1, help="Rounds of federated training")] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Optimizer steps a site and round")
    ] = None,
    attack_steps: Annotated[
        int | None, typer.Option(min=1, help="Optimizer steps of each learned attacker")
    ] = None,
    seed: Annotated[int, typer.Option(help="Root of every random number")] = 0,
) -> None:
    """Run a whole hospital federation on this machine, from k-space to the audited frontier.

    Starts a SuperLink with TLS and node authentication and a client for each hospital, trains,
    audits, prints the frontier and stops everything.

    Example: `infomri demo --data slices:lgg_flair128.h5`
    """
    from fl_server.demo import run_demo
    from fl_server.demo_plan import DemoOptions

    out = out or Path("runs") / time.strftime("demo-%Y%m%d-%H%M%S")
    options = DemoOptions(
        width=width, rounds=rounds, local_steps=steps, attack_steps=attack_steps, seed=seed
    )
    with interrupted("everything that was started has been stopped"):
        run_demo(data, out, options, Console())


@app.command()
def run(
    plan: Annotated[Path | None, typer.Argument(help="The study's plan.toml")] = None,
    superlink: SuperLinkName = None,
    resume: Annotated[str, typer.Option(help="Continue this run from its last checkpoint")] = "",
    detach: Annotated[bool, typer.Option(help="Submit and return at once")] = False,
) -> None:
    """Submit a study to a running SuperLink and follow it; exit code 1 if it fails.

    Example: `infomri run plan.toml --superlink hospital-net`
    """
    from fl_server.app import run_config
    from fl_server.control import Control
    from fl_server.submit import follow

    if plan is None and not resume:
        raise InputError("infomri run", "a plan file or --resume RUN", "neither", "give one")
    text = read_plan(plan).text if plan else ""
    with Control.named(superlink) as control:
        run_id = control.submit(run_config(text, resume))
        print(f"run {run_id} submitted")
        if not detach:
            with interrupted(f"run {run_id} goes on; `infomri stop {run_id}` ends it"):
                follow(control, run_id, Console())


@app.command()
def status(
    run_id: Annotated[str | None, typer.Argument(help="One run; default: all")] = None,
    superlink: SuperLinkName = None,
) -> None:
    """Show the runs and the sites of a SuperLink.

    Example: `infomri status --superlink hospital-net`
    """
    from fl_server.control import Control

    console = Console()
    with Control.named(superlink) as control:
        runs = Table("run", "status", "submitted", "finished", "details", title="Runs")
        for state in control.runs(run_id):
            shown = state.outcome if state.finished else state.status
            details = state.details[:80]
            runs.add_row(state.run_id, shown, state.submitted_at, state.finished_at, details)
        console.print(runs)
        sites = Table("node", "name", "status", title="Sites")
        for node in control.nodes():
            sites.add_row(node.node_id, node.name, node.status)
        console.print(sites)


@app.command()
def stop(
    run_id: Annotated[str, typer.Argument(help="The run to stop; see `infomri status`")],
    superlink: SuperLinkName = None,
) -> None:
    """Stop a run; its checkpoints stay, so that it can be resumed.

    Example: `infomri stop 1234567890 --superlink hospital-net`
    """
    from fl_server.control import Control

    with Control.named(superlink) as control:
        stopped = control.stop(run_id)
    print(f"run {run_id} {'stopped' if stopped else 'was not running'}")


@app.command()
def train(
    plan: Annotated[Path, typer.Argument(help="The study's plan.toml")],
    data: Annotated[list[str], typer.Option(help="Data URI; several are pooled")],
    audit: Annotated[str, typer.Option(help="URI of the audit set: other patients")],
    out: Annotated[Path | None, typer.Option(help="Folder; default runs/train-<time>")] = None,
) -> None:
    """Run a study centrally, in one process without Flower, on the same code as a federation.

    All data are pooled as if one hospital held them: the reference for a federated run.

    Example: `infomri train plan.toml --data phantom:?seed=1 --audit phantom:?seed=2`
    """
    from fl_server.central import train_centrally

    logging.basicConfig(level=logging.WARNING)
    out = out or Path("runs") / time.strftime("train-%Y%m%d-%H%M%S")
    train_centrally(read_plan(plan), data, audit, out, Console())


@app.command()
def dashboard(
    run: Annotated[Path, typer.Option(help="A run's folder, as a demo or a study leaves it")],
    port: Annotated[int, typer.Option(help="Port on this machine")] = 8501,
) -> None:
    """Open the dashboard on a run: AUROC against PSNR over beta.

    Example: `infomri dashboard --run runs/demo-20260101-120000`
    """
    from fl_server.viewer import serve_dashboard

    serve_dashboard(run, port)
