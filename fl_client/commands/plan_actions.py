"""What the plan commands do: look a plan up, hold it against the site, write the decision down."""

from datetime import UTC, datetime
from pathlib import Path

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
from fl_client.settings import SiteSettings
from fl_client.settings import read_settings as read_site
from infomri_core.data import open_dataset
from infomri_core.data.fingerprint import fingerprint as state_of_data
from infomri_core.data.uri import parse_uri
from infomri_core.plugins import registry as plugins
from infomri_core.system.errors import InputError
from infomri_core.system.files import write_atomically


def read_settings(path: Path) -> SiteSettings:
    """The site's settings; plans are read with the plug-ins that they allow."""
    settings = read_site(path)
    plugins.allow(settings.policy.plugins, f"{path.name}: [policy] plugins")
    return settings


def show(plan: str, config: Path, data: str) -> list[str]:
    """The plan in plain words, and held against every rule of the site."""
    settings = read_settings(config)
    study = SeenPlans.of(settings).find(plan)
    name = data or exposed(settings.policy, study.digest)
    return in_words(study, settings.exposing(name), name)


def approve(plan: str, config: Path, who: str, data: str) -> list[str]:
    """Add the plan to the list of approvals; ``InputError`` where it breaks a rule of the site."""
    settings = read_settings(config)
    study = SeenPlans.of(settings).find(plan)
    check_rules_here(study, settings.exposing(data), f"plan {study.digest[:12]}")
    declined = read_declined(declined_file(settings.policy))
    text = read_approvals_text(settings.policy.approved)
    _check_exposure(settings, study.digest, text, data)
    if study.digest not in parse_approvals(text, str(settings.policy.approved)):
        sees = f"data={data}  " if data else ""
        line = f"{study.digest}  {sees}{study.study.name}  approved by {who} {_now()}\n"
        write_atomically(settings.policy.approved, (_ended(text) + line).encode())
    if declined.pop(study.digest, None) is not None:
        write_declined(declined_file(settings.policy), declined)
    said = [f"plan {study.digest[:12]} ({study.study.name}) is approved at this site"]
    if settings.policy.approvals != "listed":
        said.append('this site runs every plan: set [policy] approvals = "listed" in site.toml')
    return said


def decline(plan: str, why: str, config: Path, who: str) -> list[str]:
    """Note the refusal and its reason; an approval becomes a comment."""
    settings = read_settings(config)
    policy = settings.policy
    study, reason = SeenPlans.of(settings).find(plan), safe_reason(why)
    declined = read_declined(declined_file(policy))
    declined[study.digest] = Declined(study.study.name, reason, who, _now())
    write_declined(declined_file(policy), declined)
    _take_back(study.digest, policy.approved, f"declined by {who} {_now()}")
    return [
        f"plan {study.digest[:12]} ({study.study.name}) is declined at this site",
        f'the study centre reads: "{settings.site.name} declined this plan: {reason}"',
    ]


def revoke(plan: str, config: Path, who: str) -> list[str]:
    """Make a comment of the plan's approval; ``InputError`` where there is none."""
    settings = read_settings(config)
    study = SeenPlans.of(settings).find(plan)
    path = settings.policy.approved
    if not _take_back(study.digest, path, f"revoked by {who} {_now()}"):
        remedy = "there is nothing to revoke"
        raise InputError(str(path), "an approval of this plan", "none", remedy)
    return [f"plan {study.digest[:12]} ({study.study.name}) is no longer approved"]


def re_enrol(plan: str, why: str, config: Path, who: str) -> list[str]:
    """Enrol the data as they are now for a plan that was enrolled with other ones."""
    whole = read_settings(config)
    study = SeenPlans.of(whole).find(plan)
    settings = whole.exposing(exposed(whole.policy, study.digest))
    uri = settings.data.uri
    data = state_of_data(open_dataset(uri).table, parse_uri(uri).path)
    path = settings.vault.state / NAME
    enrol_again(path, study.digest, data, f"by {who} {_now()}: {why}")
    return [f"plan {study.digest[:12]} ({study.study.name}) is enrolled with the data as now"]


def standing(config: Path) -> dict[str, str]:
    """Of each plan that this site knows, by its sha256, the study and how it stands."""
    settings = read_settings(config)
    policy = settings.policy
    text = read_approvals_text(policy.approved)
    approved = parse_approvals(text, str(policy.approved))
    lines = {line.split()[0]: line for line in text.splitlines() if line.split()[:1]}
    seen, declined = SeenPlans.of(settings).plans(), read_declined(declined_file(policy))
    runs = "" if policy.approvals == "listed" else "; this site runs every plan"
    state = {digest: f"{seen[digest].study.name}  sent, not decided{runs}" for digest in seen}
    state |= {digest: lines[digest].partition(digest)[2].strip() for digest in sorted(approved)}
    state |= {
        digest: f"{entry.study}  declined by {entry.by} {entry.at}: {entry.why}"
        for digest, entry in declined.items()
    }
    return {digest: what or "approved" for digest, what in state.items()}


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


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
