"""``infomri-client plan``: what a study would do here, in plain words, and who allowed it."""

import csv
import getpass
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="What a study would do here, and whether it may.", no_args_is_help=True)

PlanName = Annotated[
    str, typer.Argument(help="A plan.toml, or how the sha256 of a plan that was sent begins.")
]
Config = Annotated[Path, typer.Option(help="The site's settings.")]
By = Annotated[str, typer.Option(help="Who decides; by default the user of this computer.")]
DataName = Annotated[
    str,
    typer.Option("--data", help="The one of [datasets] that the plan may see; default: [data]."),
]
_SITE = Path("site.toml")


@app.command()
def show(plan: PlanName, config: Config = _SITE, data: DataName = "") -> None:
    """Say in plain words what a plan would do here, and hold it against every rule of the site.

    Example: infomri-client plan show plan.toml --config site.toml
    """
    from fl_client.commands import plan_actions

    _say(plan_actions.show(plan, config, data))


@app.command("list")
def list_plans(
    config: Config = _SITE,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the table as CSV.")] = False,
) -> None:
    """List the plans that were sent, approved or declined here, and how each stands.

    Example: infomri-client plan list --config site.toml
    """
    from fl_client.commands import plan_actions

    found = plan_actions.standing(config)
    if as_json:
        rows = [{"plan": digest, "standing": words} for digest, words in found.items()]
        typer.echo(json.dumps(rows, indent=2))
    elif as_csv:
        writer = csv.writer(sys.stdout)
        writer.writerow(("plan", "standing"))
        writer.writerows(found.items())
    else:
        lines = [f"{digest[:12]}  {words}" for digest, words in found.items()]
        _say(lines or ["no plan was sent, approved or declined here yet"])


@app.command()
def approve(plan: PlanName, config: Config = _SITE, by: By = "", data: DataName = "") -> None:
    """Let a plan run here: its sha256, who and when go to the list of approvals.

    A plan that breaks a rule of the site cannot be approved.

    Example: infomri-client plan approve plan.toml --by "Dr. Example"
    """
    from fl_client.commands import plan_actions

    _say(plan_actions.approve(plan, config, _who(by), data))


@app.command()
def decline(
    plan: PlanName,
    why: Annotated[str, typer.Option(help="The reason; it leaves the site. Name no patient.")],
    config: Config = _SITE,
    by: By = "",
) -> None:
    """Refuse a plan with a reason that reaches the study lead; an approval is taken back.

    Example: infomri-client plan decline plan.toml --why "no secure aggregation"
    """
    from fl_client.commands import plan_actions

    _say(plan_actions.decline(plan, why, config, _who(by)))


@app.command()
def revoke(plan: PlanName, config: Config = _SITE, by: By = "") -> None:
    """Let a plan run here no longer, from its next job on; the list keeps who and when."""
    from fl_client.commands import plan_actions

    _say(plan_actions.revoke(plan, config, _who(by)))


@app.command("re-enrol")
def re_enrol(
    plan: PlanName,
    why: Annotated[str, typer.Option(help="What changed; kept for later readers.")],
    config: Config = _SITE,
    by: By = "",
) -> None:
    """Enrol the data as they are now for a plan that was enrolled with other ones.

    Until then a site whose data changed refuses every job of the plan (`data-changed`). What was
    scored stays so: a study is scored on one state of the data only.
    """
    from fl_client.commands import plan_actions

    _say(plan_actions.re_enrol(plan, why, config, _who(by)))


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        typer.echo(line)


def _who(by: str) -> str:
    return " ".join((by or getpass.getuser()).replace("#", "").split())
