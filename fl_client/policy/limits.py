"""What this site allows, as pure functions: each returns quietly or raises ``Refused``.

The sentences cross the border: they speak of the plan, the task and the site's limits only.
"""

from collections.abc import Iterable

from fl_client.memory.ledger import Entry
from fl_client.policy.rules import check_rules
from fl_client.settings import Policy
from infomri_core.messages.secure import SECURE_JOBS
from infomri_core.plan.plan import Plan
from infomri_core.system.errors import InputError, Refused

_HEX = frozenset("0123456789abcdef")


def parse_approvals(text: str, where: str) -> frozenset[str]:
    """The sha256 of approved plans.

    Args:
        text: One a line, as ``sha256sum plan.toml`` writes them. What follows the digest is free
            text (the file, who approved it, when); '#' begins a comment.
        where: What an error names as the place.

    Raises:
        InputError: Any other line: an approval that no one reads is worse.
    """
    digests = set()
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words[0]) != 64 or not set(words[0]) <= _HEX:
            remedy = "write it with 'infomri-client plan approve'"
            raise InputError(f"{where} line {number}", "a sha256", repr(words[0][:80]), remedy)
        digests.add(words[0])
    return frozenset(digests)


def check_approved(plan: Plan, policy: Policy, approved: frozenset[str]) -> None:
    """Only approved plans run, where the site wants a list.

    Args:
        approved: sha256 of the plans' texts.

    Raises:
        Refused: ``not-approved``.
    """
    if policy.approvals == "listed" and plan.digest not in approved:
        raise Refused("not-approved", f"plan {plan.digest[:12]} is not approved at this site")


def check_limits(plan: Plan, job: str, policy: Policy) -> None:
    """The site's limits and demands, whatever the plan says.

    Raises:
        Refused: ``policy``, with the first rule that the plan breaks.
    """
    if ("train" if job in SECURE_JOBS else job) not in policy.jobs:
        raise Refused("policy", f"this site does not run '{job}'")
    check_rules(plan, policy)


def check_cohort(n_patients: int, policy: Policy) -> None:
    """Nothing that was computed from fewer patients than the site's minimum cohort leaves.

    Raises:
        Refused: ``cohort``.
    """
    if n_patients < policy.min_cohort:
        raise Refused("cohort", "too few patients stand behind this job at this site")


def check_inputs(
    entries: Iterable[Entry], ledger_entry: Entry, *, one_state: bool, limit: int
) -> None:
    """So many different inputs for one study, job and round, ever, where the same weights on other
    data are another input.

    Args:
        entries: The study's: what was charged counts, whatever became of it, and what left before
            charges were kept.
        ledger_entry: Of the job that is asked for.
        one_state: Scoring answers questions about patients: it is answered on one state of the
            data only, as two answers, before and after a patient came, would tell of that patient.
        limit: The most inputs.

    Raises:
        Refused: ``data-changed`` or ``asked-often``.
    """
    asked = [e for e in entries if e.kind != "error" and e.job == ledger_entry.job]
    if one_state and any(e.data not in ("", ledger_entry.data) for e in asked):
        raise Refused(
            "data-changed",
            "this site's data have changed since it scored this study, and two scorings would "
            "tell of the patients who came or left; a plan of another study name starts again",
        )
    seen = {(e.input, e.data) for e in asked if e.round == ledger_entry.round}
    if (ledger_entry.input, ledger_entry.data) not in seen and len(seen) >= limit:
        raise Refused(
            "asked-often",
            f"this site was asked '{ledger_entry.job}' of round {ledger_entry.round} of this "
            f"study {len(seen)} times already; a plan of another study name starts again",
        )
