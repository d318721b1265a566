"""``infomri simulate``: a study over hundreds of sites on one machine."""

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fl_server.commands.runs import Changes
from infomri_core.system.errors import InputError
from infomri_core.system.paths import anchored_here


def simulate(
    plan: Annotated[Path | None, typer.Argument(help="The study's plan.toml")] = None,
    changes: Changes = None,
    sites: Annotated[int | None, typer.Option(help="How many sites take part")] = None,
    data: Annotated[
        str, typer.Option(help="Data URI, divided among the sites")
    ] = "phantom:?patients=30&slices=2",
    out: Annotated[Path | None, typer.Option(help="Folder; default runs/simulate-TIME")] = None,
    workers: Annotated[
        int, typer.Option(min=0, help="Processes that play the sites; 0: one a core")
    ] = 0,
    min_cohort: Annotated[
        int, typer.Option(min=1, help="Patients below which a site answers nothing")
    ] = 5,
    centre: Annotated[
        Path | None,
        typer.Option(help="centre.toml with audit set, attack steps, MLflow; default: made"),
    ] = None,
    central: Annotated[
        bool,
        typer.Option(
            "--central", help="Train arms with `alone` on all sites' data in one place, too"
        ),
    ] = False,
    resume: Annotated[
        Path | None, typer.Option(help="Continue the simulation in this folder")
    ] = None,
) -> None:
    """Run a study over simulated sites: the federation's ServerApp and jobs, without its network.

    Flower's simulation engine (Ray) plays the sites, each with data, ledger and limits of its own.
    Needs the extra `simulation`. Phantom hospitals are made for the plan's shape.

    Example: `infomri simulate plan.toml --sites 200`
    """
    from fl_server.simulation.run import Simulated
    from fl_server.simulation.run import resume as go_on
    from fl_server.simulation.run import simulate as begin
    from infomri_core.plan.reading import read_plan
    from infomri_core.system.files import check_output, disk_errors_explained

    if resume is not None:
        go_on(resume, workers, Console())
        return
    if plan is None or sites is None:
        got = "no plan" if plan is None else "no --sites"
        remedy = "or --resume FOLDER to continue one"
        raise InputError("infomri simulate", "a plan file and --sites N", got, remedy)
    out = out or Path("runs") / time.strftime("simulate-%Y%m%d-%H%M%S")
    check_output(out)
    wanted = Simulated(sites, anchored_here(data), min_cohort, workers, centre, central)
    with disk_errors_explained(out, "make room, and start again with another --out"):
        begin(read_plan(plan, changes or ()), wanted, out, Console())
