"""What a job says of itself, in one place, before the vault does it for anyone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol, final

import numpy as np

from fl_client.gate.context import Check, Context
from fl_client.memory.ledger import Entry
from fl_client.memory.masking import Sessions
from fl_client.policy.cost import Cost
from fl_client.settings import Policy
from infomri_core.arms.build import arm_sizes
from infomri_core.data.base import SliceTable
from infomri_core.messages import ReleaseReply, ReleaseTask, SiteReply, SiteTask
from infomri_core.plan.plan import Plan
from infomri_core.randomness.secret_stream import SecretStream
from infomri_core.system.errors import InputError


class SiteJobs(Protocol):
    """What is asked of :class:`infomri_core.site.site.Site`."""

    def run(self, plan: Plan, task: SiteTask, cancelled: Callable[[], bool]) -> SiteReply: ...

    def scored(self, plan: Plan) -> np.ndarray: ...

    def groups(self, plan: Plan) -> np.ndarray: ...

    def noise(self, *context: str) -> SecretStream: ...

    def release(
        self,
        plan: Plan,
        task: ReleaseTask,
        patients: Sequence[str],
        cancelled: Callable[[], bool],
    ) -> ReleaseReply: ...

    def names(self, plan: Plan, patients: Sequence[str]) -> dict[str, str]: ...

    @property
    def key_id(self) -> str: ...


@final
class Premises:
    """What a job finds at this site: who computes, the table of the data, the site's policy, the
    sessions of secure aggregation, and the ledger so far (``entries``)."""

    def __init__(
        self,
        site: SiteJobs,
        table: SliceTable,
        policy: Policy,
        sessions: Sessions,
        entries: Callable[[], Sequence[Entry]],
    ) -> None:
        self.site = site
        self.table = table
        self.policy = policy
        self.sessions = sessions
        self.entries = entries
        self._sizes: tuple[str, dict[str, int]] = ("", {})

    def sizes(self, plan: Plan) -> dict[str, int]:
        """The length of each arm's flat array; building the networks takes a moment."""
        if self._sizes[0] != plan.digest:
            self._sizes = (plan.digest, arm_sizes(plan))
        return self._sizes[1]

    def trained(self) -> np.ndarray:
        """Rows of the training slices."""
        return np.flatnonzero(self.table.split == "train")


@final
@dataclass(frozen=True, kw_only=True)
class Job:
    """One job of the closed list. Nothing has a default: what is not declared cannot run.

    - ``name`` and ``task``: the kind of the message and its type.
    - ``admit(context, premises)``: the context with what the job needs; ``Refused`` for a task
      that the plan cannot have. Reads no image.
    - ``rows(plan, premises)``: which rows of the table it reads. Of each array at least the
      minimum cohort of patients must stand behind; the first is what the reply speaks of.
    - ``cost(plan, task, table)``: in epsilon, inputs and figures; charged before the first row is
      read. ``figures(plan)``: the most figures that a whole study draws by this job.
    - ``bounded(plan)``: whether epsilon bounds what it says of training patients, or it says
      nothing of them; where a site has a budget, nothing else runs.
    - ``one_state``: whether a study may ask it of one state of the data only.
    - ``kept``: whether its reply may be sent again from the cache.
    - ``array_bytes(plan, premises)``: the most that a task's arrays can hold; None: the site's
      limit.
    - ``ready(context, premises)``: ``Refused`` where it could not be done now; asked once no kept
      reply answers, and before the charge.
    - ``run(context, premises, cancelled)``: the reply.
    - ``check_reply(reply, context, rules)``: the reply as it may leave. ``Refused`` otherwise.
    """

    name: str
    task: type
    admit: Callable[[Context, Premises], Context]
    rows: Callable[[Plan, Premises], tuple[np.ndarray, ...]]
    cost: Callable[[Plan, Any, SliceTable], Cost]
    figures: Callable[[Plan], int]
    bounded: Callable[[Plan], bool]
    one_state: bool
    kept: bool
    array_bytes: Callable[[Plan, Premises], int | None]
    ready: Callable[[Context, Premises], None]
    run: Callable[[Context, Premises, Callable[[], bool]], SiteReply]
    check_reply: Check


_TYPES: dict[str, type] = {"name": str, "task": type, "one_state": bool, "kept": bool}


def check_declared(job: Job) -> None:
    """Raise ``InputError`` for a declaration with a gap."""
    for part in fields(job):
        value, kind = getattr(job, part.name), _TYPES.get(part.name)
        whole = callable(value) if kind is None else isinstance(value, kind)
        if not whole or value == "":
            what = "a function" if kind is None else kind.__name__
            where = f"job {job.name!r}: {part.name}"
            raise InputError(where, what, repr(value), "declare it in fl_client/jobs")


def whole_table(plan: Plan, premises: Premises) -> tuple[np.ndarray, ...]:
    """The rows of a job that speaks of everybody."""
    return (np.arange(len(premises.table)),)


def training_rows(plan: Plan, premises: Premises) -> tuple[np.ndarray, ...]:
    """The rows of a job that reads the training slices."""
    return (premises.trained(),)


def nothing_more(context: Context, premises: Premises) -> Context:
    """The admission of a job whose task has nothing to be checked beyond its form."""
    return context


def always_ready(context: Context, premises: Premises) -> None:
    """The readiness of a job that needs nothing prepared."""
