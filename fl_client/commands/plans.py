"""``infomri-client plan``: what a study would do here, in plain words, and who allowed it."""

import getpass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from fl_client.commands.budget_words import privacy_words
from fl_client.enrolment import NAME, enrol_again
from fl_client.policy import parse_approvals
from fl_client.settings import SiteSettings, read_settings
from infomri_core.data import open_dataset
from infomri_core.data.fingerprint import fingerprint as state_of_data
from infomri_core.data.uri import parse_uri
from infomri_core.errors import InputError
from infomri_core.files import write_atomically
from infomri_core.plan import Plan, read_plan
from infomri_core.privacy.strengths import base_name, insider_attack, same_site_attacks
from infomri_core.secagg.trust import fingerprint, read_trust

app = typer.Typer(help="What a study would do here, and whether it may.", no_args_is_help=True)

PlanFile = Annotated[Path, typer.Argument(help="The study's plan.toml.")]
Config = Annotated[Path, typer.Option(help="The site's settings.")]
By = Annotated[str, typer.Option(help="Who decides; by default the user of this computer.")]
_SITE = Path("site.toml")


@app.command()
def show(plan: PlanFile, config: Config = _SITE) -> None:
    """Say in plain words what a plan would do here."""
    study, settings = read_plan(plan), read_settings(config)
    typer.echo("\n".join(in_words(study, settings)))


@app.command()
def approve(plan: PlanFile, config: Config = _SITE, by: By = "") -> None:
    """Let a plan run here: its sha256, who and when go to the list of approvals."""
    study, settings = read_plan(plan), read_settings(config)
    path = settings.policy.approved
    text = _read(path)
    if study.digest not in parse_approvals(text, str(path)):
        line = f"{study.digest}  {study.study.name}  approved by {_who(by)} {_now()}\n"
        write_atomically(path, (_ended(text) + line).encode())
    typer.echo(f"plan {study.digest[:12]} ({study.study.name}) is approved at this site")
    if settings.policy.approvals != "listed":
        typer.echo('this site runs every plan: set [policy] approvals = "listed" in site.toml')


@app.command()
def revoke(plan: PlanFile, config: Config = _SITE, by: By = "") -> None:
    """Let a plan run here no longer, from its next job on; the list keeps who and when."""
    study, settings = read_plan(plan), read_settings(config)
    path = settings.policy.approved
    text = _read(path)
    if study.digest not in parse_approvals(text, str(path)):
        remedy = "nothing is to be revoked"
        raise InputError(str(path), "an approval of this plan", "none", remedy)
    kept = [
        f"# {line}  revoked by {_who(by)} {_now()}" if line.split()[:1] == [study.digest] else line
        for line in text.splitlines()
    ]
    write_atomically(path, ("\n".join(kept) + "\n").encode())
    typer.echo(f"plan {study.digest[:12]} ({study.study.name}) is no longer approved")


@app.command("re-enrol")
def re_enrol(
    plan: PlanFile,
    why: Annotated[str, typer.Option(help="What changed, for those who read it later.")],
    config: Config = _SITE,
    by: By = "",
) -> None:
    """Enrol the data as they are now for a plan that was enrolled with other ones.

    Until then a site whose data changed refuses every job of the plan (`data-changed`). What was
    scored stays so: a plan is scored on one state of the data only.
    """
    study, settings = read_plan(plan), read_settings(config)
    uri = settings.data.uri
    data = state_of_data(open_dataset(uri).table, parse_uri(uri).path)
    path = settings.vault.state / NAME
    enrol_again(path, study.digest, data, f"by {_who(by)} {_now()}: {why}")
    typer.echo(f"plan {study.digest[:12]} ({study.study.name}) is enrolled with the data as now")


def in_words(plan: Plan, settings: SiteSettings) -> list[str]:
    """What ``plan`` does at the site of ``settings``, line by line."""
    training, measured, policy = plan.training, plan.measurement, settings.policy
    approved = plan.digest in parse_approvals(_read(policy.approved), str(policy.approved))
    state = "approved" if approved else "not approved"
    arms = ", ".join(arm.name for arm in plan.arms)
    ratios = ", ".join(f"{a:g}x" for a in measured.accelerations)
    every = "" if policy.approvals == "listed" else "; this site runs every plan, approved or not"
    return [
        f"study {plan.study.name}, plan {plan.digest}",
        f"state at this site: {state}{every}",
        f"learns to find: {', '.join(plan.task.labels)}",
        f"trains {len(plan.arms)} arm(s): {arms}",
        f"{training.rounds} round(s), {training.local_steps} step(s) of {training.batch_size} "
        "slices an arm and round at this site",
        f"scores once, after the last round, at {ratios}",
        "what leaves:",
        f"  counts of patients, slices and findings, in steps of {policy.round_to}",
        *_weights_words(plan, settings),
        f"  histograms of scores, and means of {', '.join(plan.evaluation.attacks)}"
        f" attacks over at least {policy.min_cohort} patients",
        *_adversary_words(plan),
        *_release_words(plan, settings),
        *privacy_words(plan, settings),
    ]


def _adversary_words(plan: Plan) -> list[str]:
    evaluation, words = plan.evaluation, []
    if insider := insider_attack(plan):
        words.append(
            f"  the attack {base_name(insider)}, trained here for {evaluation.adversary_steps} "
            f"step(s) in each of {evaluation.insider_rounds} round(s), to attack the other sites"
        )
    if fitted := same_site_attacks(plan):
        names = ", ".join(base_name(name) for name in fitted)
        words.append(f"  what {names} get when trained on this site's patients: means only")
    return words


def _weights_words(plan: Plan, settings: SiteSettings) -> list[str]:
    if not plan.aggregation.secure:
        return ["  the weights of every arm after every round"]
    words = [
        "  the weights of every arm after every round, and their losses, under masks:",
        f"    the study centre sees the sum over at least {plan.training.quorum} sites and no "
        "site's part;",
        "    a sum may still say something of one site, and a wrong part cannot be seen either",
    ]
    try:
        secure = settings.secure
        trust = read_trust(secure.key, secure.trusted, settings.site.name)
    except InputError as error:
        return [*words, f"    NOT SET UP HERE: {error}"]
    known = (f"    {name} {fingerprint(key)}" for name, key in sorted(trust.sites.items()))
    return [*words, "  keys trusted for it; compare them with the sites by telephone:", *known]


def _release_words(plan: Plan, settings: SiteSettings) -> list[str]:
    if plan.release is None:
        return ["  no k-space and no image of anybody"]
    share = settings.policy.max_released_fraction
    listed = settings.policy.consent
    whose = f"patients listed in {listed}" if listed else "nobody, for want of a consent list"
    return [
        f"  sampled k-space under {plan.release.arm} at {plan.release.acceleration:g}x of {whose}",
        f"    of no patient ever more than {share:.0%} of all positions",
    ]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(str(path), "a readable list", str(error), "check the path") from None


def _ended(text: str) -> str:
    return text if not text or text.endswith("\n") else text + "\n"


def _who(by: str) -> str:
    return " ".join((by or getpass.getuser()).replace("#", "").split())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
