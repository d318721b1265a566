"""``infomri model``: trained arms in MLflow's registry, and who approved which."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from infomri_core.system.errors import InputError

if TYPE_CHECKING:
    from fl_server.tracking.registry import Version
    from infomri_core.results.frontier import Row
    from infomri_core.system.screen_table import ScreenTable

_FIGURES = "figures, strongest attack"

model_app = typer.Typer(no_args_is_help=True)
Store = Annotated[
    str,
    typer.Option(
        "--store", envvar="MLFLOW_TRACKING_URI", help="MLflow's URI, or a folder with mlflow.db."
    ),
]
Name = Annotated[str, typer.Argument(help="The registered model: STUDY.ARM")]


@model_app.callback()
def model() -> None:
    """List the models that studies registered, and approve one for use."""


@model_app.command("list")
def list_models(
    store: Store = "",
    name: Annotated[str, typer.Option("--name", help="One model only.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the table as CSV.")] = False,
) -> None:
    """Show registered models, their versions, figures and aliases.

    Example: `infomri model list --store runs/demo-20260101-120000`
    """
    from fl_server.tracking.registry import versions
    from fl_server.tracking.store import opened

    with opened(store) as client:
        found = versions(client, name)
    if as_json:
        typer.echo(json.dumps([asdict(v) | {"uri": v.uri} for v in found], indent=2))
    elif as_csv:
        typer.echo(_table(found).csv(), nl=False)
    elif not found:
        typer.echo("no model is registered there; a study registers its arms when it completes")
    else:
        from rich.console import Console

        _table(found).print(Console())


@model_app.command()
def approve(
    name: Name,
    version: Annotated[str, typer.Argument(help="Its version; see `infomri model list`")],
    by: Annotated[str, typer.Option("--by", help="Who approves; kept with the version.")],
    note: Annotated[
        str, typer.Option("--why", "--note", help="The reason; kept with the version.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask, for scripts.")] = False,
    store: Store = "",
) -> None:
    """Give a version the alias `approved`, which serving and `infomri diagnose` can ask for.

    Shows its figures and the verdict first, and asks. The answer's reason stays with the version.

    Example: `infomri model approve knee-1.uniform-s0 2 --by 'A. Noether' --store runs`
    """
    from fl_server.tracking import registry
    from fl_server.tracking.store import opened

    with opened(store) as client:
        wanted = registry.version_of(client, name, version)
        _show(registry.rows_of_version(client, wanted))
        if not yes:
            note = _asked(f"{name} version {version}", note)
        before = registry.approve(client, name, version, by, note)
    instead = f", in place of version {before.version}" if before else ""
    typer.echo(f"models:/{name}@{registry.APPROVED} is version {version} now{instead}")


@model_app.command()
def withdraw(name: Name, store: Store = "") -> None:
    """Take the alias `approved` from a model; who had approved it stays on the version.

    Example: `infomri model withdraw knee-1.uniform-s0 --store runs`
    """
    from fl_server.tracking import registry
    from fl_server.tracking.store import opened

    with opened(store) as client:
        version = registry.withdraw(client, name)
    typer.echo(f"version {version.version} of {name} is no longer approved")


def _show(rows: "Sequence[Row]") -> None:
    """On stderr what is to be approved: its rows, the verdict, and what should give pause."""
    from rich.console import Console

    from infomri_core.report.verdict import verdict
    from infomri_core.results.frontier import utility_of
    from infomri_core.results.operating_point import guessing, linkage_sentence
    from infomri_core.results.table import print_frontier

    console = Console(stderr=True)
    if not rows:
        console.print("No figures of it are in MLflow: approve it only if you know them.")
        return
    print_frontier(console, rows, {})
    console.print(verdict(rows, {}).headline, style="bold")
    console.print(linkage_sentence(rows[-1]))
    for row in rows:
        figure = utility_of([row])
        if figure.chance is not None and guessing(row):
            console.print(
                f"At {row.acceleration:g}x its {figure.title} cannot be told from guessing "
                f"({figure.form(figure.chance)}).",
                style="bold red",
            )


def _asked(what: str, note: str) -> str:
    """The reason to approve ``what``, once somebody has said yes. ``InputError`` without one."""
    try:
        typer.confirm(f"Approve {what}?", abort=True, err=True)
        return note or typer.prompt("Why", err=True)
    except typer.Abort:
        remedy = "nothing was approved; in a script say --yes, with --why"
        raise InputError("infomri model approve", "a yes", "none", remedy) from None


def _table(found: "Sequence[Version]") -> "ScreenTable":
    from fl_server.tracking.registry import APPROVED, BY
    from infomri_core.system.screen_table import Column, ScreenTable

    columns = [Column("model"), Column("version"), Column("aliases")]
    columns += [Column(_FIGURES), Column("registered", prose=True)]
    columns += [Column("approved by", prose=True)]
    rows = []
    for version in found:
        by = version.tags.get(BY, "") if APPROVED in version.aliases else ""
        aliases, figures = "\n".join(version.aliases), _figures(version)
        rows.append((version.name, version.version, aliases, figures, version.created, by))
    return ScreenTable(columns, rows)


def _figures(version: "Version") -> str:
    """Lines such as '16x: AUROC 0.912, 17.3 dB', the least acceleration first."""
    from infomri_core.tasks.registry import DEFAULT, figures_of

    lines, utility = {}, figures_of(version.tags.get("infomri.task") or DEFAULT)[0]
    for key, value in version.tags.items():
        figure, _, at = key.partition("/")
        if figure == utility.name:
            psnr = version.tags.get(f"psnr_worst/{at}")
            attack = f", {float(psnr):.1f} dB" if psnr else ""
            words = f"{at}: {utility.title} {utility.form(float(value))}{attack}"
            lines[float(at.removesuffix("x"))] = words
    return "\n".join(lines[at] for at in sorted(lines))
