"""``infomri run``, ``follow``, ``status`` and ``stop``: studies at a running SuperLink."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from fl_server.terminal.exit_codes import interrupted
from infomri_core.system.errors import InputError

if TYPE_CHECKING:
    from fl_server.operations.control import Control
    from infomri_core.plan.plan import Plan

SuperLinkName = Annotated[
    str | None,
    typer.Option(
        "--superlink",
        help="A connection of Flower's config.toml (default: its default), or HOST:PORT",
    ),
]

OperatorFolder = Annotated[
    Path | None,
    typer.Option(
        "--operator", envvar="INFOMRI_OPERATOR", help="Folder of your operator's kit; signs, too"
    ),
]


Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="SECTION.KEY=VALUE", help="Change the plan, e.g. training.rounds=8"
    ),
]


def run(
    context: typer.Context,
    plan: Annotated[Path | None, typer.Argument(help="The study's plan.toml")] = None,
    changes: Changes = None,
    superlink: SuperLinkName = None,
    operator: OperatorFolder = None,
    resume: Annotated[str, typer.Option(help="Continue this run from its last checkpoint")] = "",
    detach: Annotated[bool, typer.Option(help="Submit and return at once")] = False,
    centre: Annotated[
        Path | None,
        typer.Option(
            envvar="INFOMRI_CENTRE", help="centre.toml; to look for --resume among its runs"
        ),
    ] = None,
) -> None:
    """Submit a study to a running SuperLink and follow it to its frontier; exit code 1 if it
    fails.

    With `--set` the changed plan is written beside the plan: sites approve that text.

    Example: `infomri run plan.toml --superlink hospital-net`
    """
    from fl_server.authority.operators import read_operator
    from fl_server.operations.control import Control
    from fl_server.serverapp import run_config
    from fl_server.terminal.follow_run import check_resume
    from infomri_core.plan.reading import read_plan

    if plan is None and not resume:
        raise InputError("infomri run", "a plan file or --resume RUN", "neither", "give one")
    text = "" if plan is None else _text(read_plan(plan, changes or ()), plan)
    with Control.named(superlink, operator) as control:
        if resume:
            check_resume(control, resume, centre)
        signer = None if operator is None else read_operator(operator)
        run_id = control.submit(run_config(text, resume, signer))
        print(f"run {run_id} submitted")
        if not detach:
            _show(control, run_id, verbose=bool(context.obj))


def _text(plan: "Plan", path: Path) -> str:
    """The text to submit; one that is in no file yet is written to one, for those who approve."""
    if plan.text != path.read_text(encoding="utf-8"):
        kept = path.with_name(f"{path.stem}.{plan.digest[:12]}.toml")
        kept.write_text(plan.text, encoding="utf-8")
        print(f"the changed plan, which sites approve: {kept} (sha256 {plan.digest})")
    return plan.text


def follow(
    context: typer.Context,
    run_id: Annotated[str, typer.Argument(help="The run's number; see `infomri status`")],
    superlink: SuperLinkName = None,
    operator: OperatorFolder = None,
) -> None:
    """Show a submitted run from its beginning, and go on until it ends.

    Example: `infomri follow 1234567890 --superlink hospital-net`
    """
    from fl_server.operations.control import Control

    with Control.named(superlink, operator) as control:
        control.state(run_id)
        _show(control, run_id, verbose=bool(context.obj))


def status(
    run_id: Annotated[str | None, typer.Argument(help="One run; default: all")] = None,
    superlink: SuperLinkName = None,
    operator: OperatorFolder = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print both tables as CSV.")] = False,
    centre: Annotated[
        Path | None,
        typer.Option(envvar="INFOMRI_CENTRE", help="centre.toml, for the room on its disk"),
    ] = None,
) -> None:
    """Show the runs and the sites of a SuperLink: when each site was last seen, its versions, and
    what is free on the study centre's disk; of runs that are running (or of the one named), which
    sites refused what.

    Example: `infomri status --superlink hospital-net`
    """
    from fl_server.operations.control import Control
    from fl_server.terminal.follow_run import refusals, site_versions
    from infomri_core.system.versions import versions

    with Control.named(superlink, operator) as control:
        states, nodes = control.runs(run_id), control.nodes()
        asked = [s for s in states if run_id or s.status == "running"]
        refused = {s.run_id: refusals(control, s) for s in asked}
        known: dict[str, str] = {}
        for state in reversed(states[:3]):
            known |= site_versions(control, state)
    room = None if centre is None else _disk(centre)
    if as_json:
        named = [
            {"node_id": n.node_id, "name": n.name, "status": n.status, "last_seen": n.last_seen}
            | {"versions": known.get(n.name, "")}
            for n in nodes
        ]
        runs_now = [asdict(s) | {"refusals": refused.get(s.run_id, [])} for s in states]
        here = {"versions": versions("infomri"), "disk": room}
        print(json.dumps({"runs": runs_now, "sites": named, "centre": here}, indent=2))
        return
    from infomri_core.system.screen_table import Column, ScreenTable

    whole = [Column(name) for name in ("run", "status", "submitted", "finished")]
    rows = [
        (s.run_id, s.outcome if s.finished else s.status, s.submitted_at, s.finished_at, s.details)
        for s in states
    ]
    runs = ScreenTable([*whole, Column("details", prose=True)], rows, "Runs")
    sites = ScreenTable(
        [*map(Column, ("node", "name", "status", "last seen")), Column("versions", prose=True)],
        [(n.node_id, n.name, n.status, n.last_seen, known.get(n.name, "")) for n in nodes],
        "Sites",
    )
    if as_csv:
        typer.echo(f"{runs.csv()}\n{sites.csv()}", nl=False)
        return
    console = Console()
    runs.print(console)
    for run, sentences in refused.items():
        for sentence in sentences:
            console.print(f"run {run}: {sentence}", markup=False, highlight=False)
    sites.print(console)
    console.print(f"here: {versions('infomri')}", markup=False, highlight=False)
    if room is not None:
        console.print(f"disk: {room}", markup=False, highlight=False, soft_wrap=True)


def _disk(centre: Path) -> str:
    """What is free where the study centre's runs are."""
    import shutil

    from fl_server.settings import read_settings

    folder = read_settings(centre).centre.directory.resolve()
    there = next(place for place in (folder, *folder.parents) if place.exists())
    usage = shutil.disk_usage(there)
    return f"{usage.free / 2**30:.1f} of {usage.total / 2**30:.1f} GiB free at {folder}"


def stop(
    run_id: Annotated[str, typer.Argument(help="The run to stop; see `infomri status`")],
    superlink: SuperLinkName = None,
    operator: OperatorFolder = None,
) -> None:
    """Stop a run; its checkpoints stay, so that it can be resumed.

    Example: `infomri stop 1234567890 --superlink hospital-net`
    """
    from fl_server.operations.control import Control

    with Control.named(superlink, operator) as control:
        stopped = control.stop(run_id)
    print(f"run {run_id} {'stopped' if stopped else 'was not running'}")


def _show(control: "Control", run_id: str, *, verbose: bool) -> None:
    from fl_server.terminal.follow_run import follow
    from fl_server.terminal.screen import Screen
    from infomri_core.machine.hints import shell_command
    from infomri_core.results.table import print_frontier

    console = Console()
    goes_on = (
        f"run {run_id} continues; `{shell_command('infomri', 'follow', run_id)}` shows it again, "
        f"`{shell_command('infomri', 'stop', run_id)}` ends it"
    )
    with interrupted(goes_on):
        with Screen(console) as screen:
            rows = follow(control, run_id, screen, verbose=verbose)
        if rows:
            print_frontier(console, rows, screen.meta)
        console.print(f"run {run_id} completed")
