"""How many figures a plan would draw from this site's patients, in plain words."""

from fl_client.jobs.registry import plan_figures
from fl_client.memory.ledger import read_ledger
from fl_client.policy.figures import drawn, left_to_draw
from fl_client.settings import SiteSettings
from infomri_core.plan.plan import Plan


def figure_words(plan: Plan, settings: SiteSettings) -> list[str]:
    """What ``plan`` would draw, what all studies have drawn, and whether both fit."""
    policy, path = settings.policy, settings.vault.state / "ledger.jsonl"
    entries = read_ledger(path) if path.exists() else []
    whole, before = plan_figures(plan), drawn(entries, policy.figure_days)
    after = before + left_to_draw(plan, whole, entries, policy)
    verdict = "refused" if after > policy.max_figures else "within"
    return [
        f"figures it would draw: up to {whole}, each question asked once",
        f"figures of all studies at this site: {before} of {policy.max_figures} drawn in "
        f"{policy.figure_days:g} days; {after} after this one: {verdict} ([policy] max_figures)",
    ]
