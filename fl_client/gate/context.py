"""What a job and its reply are judged by: the plan, the task, what it costs, the site's rules."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np

from fl_client.gate.release_gate import Consent
from fl_client.memory.ledger import Entry
from fl_client.memory.release_memory import ReleaseMemory
from fl_client.policy.cost import Cost
from fl_client.settings import Policy
from infomri_core.data.base import SliceTable
from infomri_core.messages import MaskedReply, SiteReply, SiteTask
from infomri_core.plan.plan import Plan
from infomri_core.randomness.secret_stream import SecretStream
from infomri_core.system.errors import Refused

log = logging.getLogger(__name__)


@final
@dataclass(frozen=True)
class Context:
    """The approved plan, the task that asked, and the patients behind the reply.
    ``class_patients`` (L,): the smaller of the numbers of patients with and without the finding;
    ``positive_patients`` (L,): those with it. ``ledger_entry``: the ledger entry of the reply, but
    for what left; ``consent``: whose k-space a release may hold; ``cost``: what the job costs;
    ``charge``: the ledger entry that says so; ``mask``: puts a reply under its task's masks. Of
    a scoring, ``scored`` are the slices behind it, ``slots`` (n,) their patients' groups, and
    ``noise`` makes what it leaves under, of its digest; ``keep`` takes what leaves masked, bare,
    so that other masks need no data."""

    site: str
    plan: Plan
    task: SiteTask
    ledger_entry: Entry
    n_patients: int
    positive_patients: tuple[int, ...]
    class_patients: tuple[int, ...]
    consent: Consent | None = None
    cost: Cost | None = None
    mask: Callable[[Any], MaskedReply] | None = None
    charge: Entry | None = None
    noise: Callable[..., SecretStream] | None = None
    scored: SliceTable | None = None
    slots: np.ndarray | None = None
    keep: Callable[[bytes], None] | None = None


@final
@dataclass(frozen=True)
class Rules:
    """By what a reply is judged: the site's policy, its ledger so far, all releases so far."""

    policy: Policy
    entries: Sequence[Entry]
    memory: ReleaseMemory


@final
@dataclass(frozen=True)
class Checked:
    """A reply as it may leave, and what else its ledger entry says (``noted``, by field)."""

    reply: SiteReply
    noted: Mapping[str, Any] = field(default_factory=dict)


Check = Callable[[Any, Context, Rules], Checked]
"""How a job's reply becomes one that may leave; ``Refused`` where it must not."""


def refusal(what: str) -> Refused:
    """The refusal of a reply that must not leave; ``what`` it is stays in the site's log."""
    log.error("the gate held back %s", what)
    return Refused("gate", "the site's gate held the result back; its log says why")
