"""``infomri model``: trained arms in MLflow's registry, and who approved which."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from fl_server.tracking.registry import Version

WIDTH = 110

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
    elif not found:
        typer.echo("no model is registered there; a study registers its arms when it completes")
    else:
        console = Console()
        if not console.is_terminal:
            console = Console(width=max(console.width, WIDTH))
        console.print(_table(found))


@model_app.command()
def approve(
    name: Name,
    version: Annotated[str, typer.Argument(help="Its version; see `infomri model list`")],
    by: Annotated[str, typer.Option("--by", help="Who approves; kept with the version.")],
    note: Annotated[str, typer.Option("--note", help="Why; kept with the version.")] = "",
    store: Store = "",
) -> None:
    """Give a version the alias `approved`, which serving and `infomri diagnose` can ask for.

    Example: `infomri model approve knee-1.uniform-s0 2 --by 'A. Noether' --store runs`
    """
    from fl_server.tracking import registry
    from fl_server.tracking.store import opened

    with opened(store) as client:
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
    typer.echo(f"version {version.version} of {name} is approved no longer")


def _table(found: "Sequence[Version]") -> Table:
    from fl_server.tracking.registry import APPROVED, BY

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header in ("model", "version", "aliases", "AUROC, strongest attack"):
        made.add_column(header, no_wrap=header.startswith("AUROC"), overflow="fold")
    made.add_column("registered")
    made.add_column("approved by", overflow="fold")
    for version in found:
        by = version.tags.get(BY, "") if APPROVED in version.aliases else ""
        aliases = ", ".join(version.aliases)
        figures = _figures(version)
        made.add_row(version.name, version.version, aliases, figures, version.created, by)
    return made


def _figures(version: "Version") -> str:
    """Lines such as '16x: 0.912, 17.3 dB'."""
    lines = []
    for key, value in sorted(version.tags.items()):
        figure, _, at = key.partition("/")
        if figure == "auroc":
            psnr = version.tags.get(f"psnr_worst/{at}")
            lines.append(f"{at}: {value}" + (f", {psnr} dB" if psnr else ""))
    return "\n".join(lines)
