"""A plan against every rule of the site, line by line, for who is to approve it."""

from fl_client.commands.budget_words import entries_of
from fl_client.gate import budget
from fl_client.jobs.registry import job_named
from fl_client.policy.rules import Verdict, verdicts
from fl_client.settings import SiteSettings
from infomri_core.messages import EnrolTask
from infomri_core.plan.plan import Plan
from infomri_core.system.errors import Refused

_STATES = {True: "ok", False: "REFUSED"}


def rule_words(plan: Plan, settings: SiteSettings) -> list[str]:
    """One line a rule: its name, what the site says, what the plan has, and the verdict."""
    found = _verdicts(plan, settings)
    width = max(len(verdict.name) for verdict in found)
    lines = [
        f"  {_STATES[verdict.holds]:<8} {verdict.name:<{width}}  "
        f"site: {verdict.site}; plan: {verdict.plan}"
        for verdict in found
    ]
    missing = [job for job in _jobs(plan) if job not in settings.policy.jobs]
    refused = [f"  REFUSED  jobs: this site does not run {', '.join(missing)}"] if missing else []
    return ["the site's rules ([policy] in site.toml):", *lines, *refused]


def check_rules_here(plan: Plan, settings: SiteSettings, where: str) -> None:
    """Raise ``InputError`` for a plan that the vault would refuse by a rule or its budget."""
    for verdict in _verdicts(plan, settings):
        verdict.require(where)


def _verdicts(plan: Plan, settings: SiteSettings) -> list[Verdict]:
    return [*verdicts(plan, settings.policy), *_budget(plan, settings)]


def _budget(plan: Plan, settings: SiteSettings) -> list[Verdict]:
    """The budget of all studies, by the vault's own check."""
    policy = settings.policy
    if policy.max_epsilon is None:
        return []
    says = f"epsilon of all studies at most {policy.max_epsilon:g}, delta {policy.max_delta:g}"
    try:
        asked, entries = EnrolTask(plan.text, 0.0), entries_of(settings)
        bounded = all(job_named(job).bounded(plan) for job in _jobs(plan))
        budget.check_budget(plan, asked, entries, policy, bounded=bounded)
    except Refused as refused:
        return [Verdict("max_epsilon", says, refused.sentence, False)]
    return [Verdict("max_epsilon", says, "within it", True)]


def _jobs(plan: Plan) -> list[str]:
    asked = {
        "moments": plan.moments is not None,
        "adapt": "insider" in plan.evaluation.adversaries,
        "release": plan.release is not None,
    }
    return ["enrol", "train", "evaluate", *(job for job, wanted in asked.items() if wanted)]
