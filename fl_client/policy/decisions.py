"""What people at the site decided about plans: approvals, and refusals with a reason.

``approved`` is a list of digests (:func:`fl_client.policy.limits.parse_approvals`). Beside it
stands ``declined.toml``: a table for each declined plan, whose ``why`` is the one sentence of a
person that leaves the site, in the vault's refusal.
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import tomli_w

from fl_client.policy.limits import check_approved, parse_approvals
from fl_client.settings import Policy
from infomri_core.plan.plan import Plan
from infomri_core.system.config import build, read_toml
from infomri_core.system.errors import InputError, Refused
from infomri_core.system.files import write_atomically

MAX_WHY = 200
_MARKS = frozenset(" .,;:!?()'\"/%+-=@&")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Declined:
    """A plan that the site declined: its ``study``, ``why``, ``by`` whom and ``at`` what time."""

    study: str
    why: str
    by: str
    at: str


def safe_reason(text: str) -> str:
    """``text`` on one line, as it may leave the site. Raises ``InputError`` where it is empty,
    longer than :data:`MAX_WHY` or has more than letters, digits and plain punctuation."""
    line = " ".join(text.split())
    expected = f"1 to {MAX_WHY} letters, digits and . , ; : ! ? ( ) ' \" / % + - = @ &"
    remedy = "say it in a short plain sentence; it leaves the site, so name no patient"
    if not 1 <= len(line) <= MAX_WHY:
        raise InputError("--why", expected, f"{len(line)} characters", remedy)
    other = next((c for c in line if not (c.isalnum() or c in _MARKS)), None)
    if other is not None:
        raise InputError("--why", expected, repr(other), remedy)
    return line


def declined_file(policy: Policy) -> Path:
    """Where the declined plans stand: beside the approvals."""
    return policy.approved.with_name("declined.toml")


def read_declined(path: Path) -> dict[str, Declined]:
    """The declined plans by digest; none where there is no file. Raises ``InputError``."""
    if not path.exists():
        return {}
    found = {}
    for digest, table in read_toml(path).items():
        made = build(Declined, table, f"{path} {digest[:12]}")
        found[digest] = Declined(made.study, safe_reason(made.why), made.by, made.at)
    return found


def write_declined(path: Path, declined: Mapping[str, Declined]) -> None:
    """Write the list of declined plans."""
    table = {digest: asdict(entry) for digest, entry in declined.items()}
    write_atomically(path, tomli_w.dumps(table).encode())


def read_approvals_text(path: Path) -> str:
    """The list of approvals as it stands; "" where there is none yet. Raises ``InputError``."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(str(path), "a readable list", str(error), "check the path") from None


def exposed(policy: Policy, digest: str) -> str:
    """The data set that the approval of a plan names, '' for the site's first: the second word of
    its line, ``data=NAME``. Raises ``InputError`` where the list cannot be read."""
    for line in read_approvals_text(policy.approved).splitlines():
        words = line.partition("#")[0].split()
        if words[:1] == [digest] and len(words) > 1 and words[1].startswith("data="):
            return words[1].removeprefix("data=")
    return ""


def check_decisions(plan: Plan, policy: Policy, site: str) -> None:
    """Raise ``Refused`` for a plan that people here declined ("declined", with the reason,
    whatever ``approvals`` says), or that they must approve and have not ("not-approved").

    The lists are read as they stand now: to approve, decline or revoke needs no restart.
    """
    try:
        entry = read_declined(declined_file(policy)).get(plan.digest)
    except InputError as error:
        log.error("the declined plans cannot be read: %s", error)
        raise Refused("declined", "this site's decisions cannot be read") from None
    if entry is not None:
        raise Refused("declined", f"{site} declined this plan: {entry.why}")
    check_approved(plan, policy, _approved(policy))


def _approved(policy: Policy) -> frozenset[str]:
    if policy.approvals == "any":
        return frozenset()
    path = policy.approved
    try:
        return parse_approvals(path.read_text(encoding="utf-8-sig"), str(path))
    except FileNotFoundError:
        return frozenset()
    except (OSError, ValueError) as error:
        log.error("the approvals cannot be read: %s", error)
        raise Refused("not-approved", "this site's approvals cannot be read") from None
