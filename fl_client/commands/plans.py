"""``infomri-client plan``: what a study would do here, in plain words, and who allowed it."""

import getpass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from fl_client.commands.plan_words import in_words
from fl_client.commands.rule_words import check_rules_here
from fl_client.policy.decisions import (
    Declined,
    declined_file,
    exposed,
    read_approvals_text,
    read_declined,
    safe_reason,
    write_declined,
)
from fl_client.policy.enrolment import NAME, enrol_again
from fl_client.policy.limits import parse_approvals
from fl_client.policy.seen_plans import SeenPlans
from fl_client.settings import SiteSettings, read_settings
from infomri_core.data import open_dataset
from infomri_core.data.fingerprint import fingerprint as state_of_data
from infomri_core.data.uri import parse_uri
from infomri_core.system.errors import InputError
from infomri_core.system.files import write_atomically

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
    settings = read_settings(config)
    study = SeenPlans.of(settings).find(plan)
    name = data or exposed(settings.policy, study.digest)
    typer.echo("\n".join(in_words(study, settings.exposing(name), name)))


@app.command("list")
def list_plans(config: Config = _SITE) -> None:
    """List the plans that were sent, approved or declined here, and how each stands.

    Example: infomri-client plan list --config site.toml
    """
    settings = read_settings(config)
    for line in standing(settings) or ["no plan was sent, approved or declined here yet"]:
        typer.echo(line)


@app.command()
def approve(plan: PlanName, config: Config = _SITE, by: By = "", data: DataName = "") -> None:
    """Let a plan run here: its sha256, who and when go to the list of approvals.

    A plan that breaks a rule of the site cannot be approved.

    Example: infomri-client plan approve plan.toml --by "Dr. Example"
    """
    settings = read_settings(config)
    study = SeenPlans.of(settings).find(plan)
    check_rules_here(study, settings.exposing(data), f"plan {study.digest[:12]}")
    declined = read_declined(declined_file(settings.policy))
    text = read_approvals_text(settings.policy.approved)
    _check_exposure(settings, study.digest, text, data)
    if study.digest not in parse_approvals(text, str(settings.policy.approved)):
        sees = f"data={data}  " if data else ""
        line = f"{study.digest}  {sees}{study.study.name}  approved by {_who(by)} {_now()}\n"
        write_atomically(settings.policy.approved, (_ended(text) + line).encode())
    if declined.pop(study.digest, None) is not None:
        write_declined(declined_file(settings.policy), declined)
    typer.echo(f"plan {study.digest[:12]} ({study.study.name}) is approved at this site")
    if settings.policy.approvals != "listed":
        typer.echo('this site runs every plan: set [policy] approvals = "listed" in site.toml')


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
    settings = read_settings(config)
    policy = settings.policy
    study, reason = SeenPlans.of(settings).find(plan), safe_reason(why)
    declined = read_declined(declined_file(policy))
    declined[study.digest] = Declined(study.study.name, reason, _who(by), _now())
    write_declined(declined_file(policy), declined)
    _take_back(study.digest, policy.approved, f"declined by {_who(by)} {_now()}")
    typer.echo(f"plan {study.digest[:12]} ({study.study.name}) is declined at this site")
    typer.echo(f'the study centre reads: "{settings.site.name} declined this plan: {reason}"')


@app.command()
def revoke(plan: PlanName, config: Config = _SITE, by: By = "") -> None:
    """Let a plan run here no longer, from its next job on; the list keeps who and when."""
    settings = read_settings(config)
    study = SeenPlans.of(settings).find(plan)
    path = settings.policy.approved
    if not _take_back(study.digest, path, f"revoked by {_who(by)} {_now()}"):
        remedy = "nothing is to be revoked"
        raise InputError(str(path), "an approval of this plan", "none", remedy)
    typer.echo(f"plan {study.digest[:12]} ({study.study.name}) is no longer approved")


@app.command("re-enrol")
def re_enrol(
    plan: PlanName,
    why: Annotated[str, typer.Option(help="What changed, for those who read it later.")],
    config: Config = _SITE,
    by: By = "",
) -> None:
    """Enrol the data as they are now for a plan that was enrolled with other ones.

    Until then a site whose data changed refuses every job of the plan (`data-changed`). What was
    scored stays so: a study is scored on one state of the data only.
    """
    whole = read_settings(config)
    study = SeenPlans.of(whole).find(plan)
    settings = whole.exposing(exposed(whole.policy, study.digest))
    uri = settings.data.uri
    data = state_of_data(open_dataset(uri).table, parse_uri(uri).path)
    path = settings.vault.state / NAME
    enrol_again(path, study.digest, data, f"by {_who(by)} {_now()}: {why}")
    typer.echo(f"plan {study.digest[:12]} ({study.study.name}) is enrolled with the data as now")


def standing(settings: SiteSettings) -> list[str]:
    """One line for each plan that this site knows: digest, study, and how it stands."""
    policy = settings.policy
    text = read_approvals_text(policy.approved)
    approved = parse_approvals(text, str(policy.approved))
    lines = {line.split()[0]: line for line in text.splitlines() if line.split()[:1]}
    seen, declined = SeenPlans.of(settings).plans(), read_declined(declined_file(policy))
    state = {digest: f"{seen[digest].study.name}  sent, not decided" for digest in seen}
    state |= {digest: lines[digest].partition(digest)[2].strip() for digest in sorted(approved)}
    state |= {
        digest: f"{entry.study}  declined by {entry.by} {entry.at}: {entry.why}"
        for digest, entry in declined.items()
    }
    return [f"{digest[:12]}  {what or 'approved'}" for digest, what in state.items()]


def _check_exposure(settings: SiteSettings, digest: str, text: str, data: str) -> None:
    """Raise ``InputError`` where the plan is approved for another data set than ``data``."""
    known = exposed(settings.policy, digest)
    if digest in parse_approvals(text, str(settings.policy.approved)) and known != data:
        remedy = "revoke it first; a plan that has run stays with the data set it ran on"
        raise InputError("--data", f"the data set of the approval, {known!r}", repr(data), remedy)


def _take_back(digest: str, path: Path, note: str) -> bool:
    """Make a comment of an approval, with a note; whether there was one."""
    text = read_approvals_text(path)
    if digest not in parse_approvals(text, str(path)):
        return False
    kept = [
        f"# {line}  {note}" if line.split()[:1] == [digest] else line for line in text.splitlines()
    ]
    write_atomically(path, ("\n".join(kept) + "\n").encode())
    return True


def _ended(text: str) -> str:
    return text if not text or text.endswith("\n") else text + "\n"


def _who(by: str) -> str:
    return " ".join((by or getpass.getuser()).replace("#", "").split())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
