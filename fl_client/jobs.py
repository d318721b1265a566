"""From a message to the bytes of its answer: the closed list of what a vault does for others.

Whatever comes in, an answer goes out: a result that passed the gate, or an error of a code and a
safe sentence. The text of an exception stays in the site's own log.
"""

import contextlib
import dataclasses
import errno
import hashlib
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Protocol, final

import numpy as np

from fl_client import budget, policy
from fl_client.cache import ReplyCache
from fl_client.cohort import count_patients
from fl_client.consent import consenting, read_consent
from fl_client.context import Context
from fl_client.gate import Gate
from fl_client.ledger import Entry, Ledger
from fl_client.mark import Mark
from fl_client.masking import Sessions, summed
from fl_client.release_gate import Consent
from fl_client.release_memory import ReleaseMemory
from fl_client.settings import SiteSettings
from fl_client.status import PING, VaultStatus, tally
from infomri_core import wire
from infomri_core.data.base import SliceTable
from infomri_core.data.fingerprint import fingerprint
from infomri_core.errors import Cancelled, InputError, Refused
from infomri_core.exchange import (
    AdaptTask,
    EnrolTask,
    ErrorReply,
    EvaluateTask,
    MomentsTask,
    ReleaseReply,
    ReleaseTask,
    SecureTask,
    SiteReply,
    SiteTask,
    TrainTask,
    UnmaskTask,
    question_of,
    task_from,
)
from infomri_core.plan import Plan, parse_plan
from infomri_core.tasks.classification import arm_sizes

_UNREAD = Entry(run="", job="unknown", round=0, kind="", n_bytes=0, sha256="")

log = logging.getLogger(__name__)


class SiteJobs(Protocol):
    """What is asked of :class:`infomri_core.site.Site`."""

    def run(self, plan: Plan, task: SiteTask, cancelled: Callable[[], bool]) -> SiteReply: ...

    def scored(self, plan: Plan) -> np.ndarray: ...

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
class Jobs:
    """Runs one job at a time on ``site``, whose slices are described by ``table``.

    ``stopping`` tells that the vault is to end; running work is then cancelled between two steps,
    as it is when the deadline of the task has passed on ``clock`` (Unix time). ``data_path``:
    where the data lie, if anywhere.
    """

    def __init__(
        self,
        settings: SiteSettings,
        site: SiteJobs,
        table: SliceTable,
        ledger: Ledger,
        stopping: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.time,
        data_path: str = "",
    ) -> None:
        self._name = settings.site.name
        self._policy = settings.policy
        self._site = site
        self._table = table
        self._data = fingerprint(table, data_path)
        self._ledger = ledger
        self._mark = Mark(ledger, settings.vault.state / "released.json")
        memory = ReleaseMemory(ledger, self._mark, settings.policy.max_released_fraction)
        self._gate = Gate(settings.policy, ledger, memory)
        self._cache = ReplyCache(settings.vault.state / "replies", settings.policy.cached_replies)
        self._sessions = Sessions(settings.site.name, settings.secure)
        self._stopping = stopping
        self._clock = clock
        self._lock = threading.Lock()
        self._sizes: tuple[str, dict[str, int]] = ("", {})

    def handle(self, data: bytes) -> bytes:
        """The answer to a message. Never raises."""
        departure, started = _UNREAD, time.monotonic()
        try:
            message = wire.decode(data)
            if message.kind == PING.kind:
                return wire.encode(self._status().to_message())
            task = task_from(message)
            departure = departure_of(task, self._data)
            with self._turn(task.deadline) as cancelled:
                outcome, reply = self._answer(task, departure, cancelled)
            _tell(departure, outcome, started, len(reply))
            return reply
        except Exception as exception:
            error = self._error(exception)
        _tell(departure, f"refused ({error.code}: {error.sentence})", started)
        return self._gate.refuse(error, departure)

    def _status(self) -> VaultStatus:
        return VaultStatus(self._name, self._lock.locked(), tally(self._ledger.entries()))

    def _error(self, exception: Exception) -> ErrorReply:
        """What may be said of an exception: nothing, but for those made to be said."""
        if isinstance(exception, Cancelled) and self._stopping():
            return ErrorReply("stopping", "this site is stopping; ask again later")
        if isinstance(exception, Refused):
            return ErrorReply(exception.code, exception.sentence)
        log.error("a job failed", exc_info=exception)
        if isinstance(exception, OSError) and exception.errno in (errno.ENOSPC, errno.EDQUOT):
            return ErrorReply("failed", "the disk of this site is full")
        return ErrorReply("failed", "the job failed at this site; the site's log says why")

    @contextlib.contextmanager
    def _turn(self, deadline: float) -> Iterator[Callable[[], bool]]:
        """Wait for the running job to end; gives the function that tells when to stop."""
        if not math.isfinite(deadline):
            raise Refused("bad-task", "the deadline is not a time")
        end = min(deadline, self._clock() + self._policy.max_job_seconds)
        if not self._lock.acquire(timeout=max(0.0, end - self._clock())):
            raise Cancelled
        try:
            if self._stopping() or self._clock() >= end:
                raise Cancelled
            yield lambda: self._stopping() or self._clock() >= end
        finally:
            self._lock.release()

    def _answer(
        self, task: SiteTask, departure: Entry, cancelled: Callable[[], bool]
    ) -> tuple[str, bytes]:
        context = self._admit(task, departure)
        if isinstance(task, ReleaseTask):
            return "answered", self._release(context, task, cancelled)
        key = _occasion(task, departure)
        kept = self._cache.get(key)
        again = None if kept is None else self._gate.repeat(kept, context)
        if again is not None:
            return "repeated", again
        entries = self._ledger.entries()
        policy.check_inputs(entries, context.departure, self._policy.max_inputs)
        if context.cost is not None:
            self._mark.check()
        budget.check_budget(context.plan, task, entries, self._policy)
        reply = self._gate.leave(self._reply(context, task, cancelled), context)
        self._cache.put(key, reply)
        return "answered", reply

    def _reply(self, context: Context, task: SiteTask, cancelled: Callable[[], bool]) -> SiteReply:
        if isinstance(task, SecureTask):
            entries = self._ledger.entries()
            return self._sessions.answer(context.plan, task, context.departure, entries)
        if isinstance(task, TrainTask) and task.masking is not None:
            entries = self._ledger.entries()
            self._sessions.check(context.plan, task.masking, context.departure, entries)
        return self._site.run(context.plan, task, cancelled)

    def _release(
        self, context: Context, task: ReleaseTask, cancelled: Callable[[], bool]
    ) -> bytes:
        """Made anew each time, never from the cache: a consent may have been withdrawn. The site
        draws the same mask and noise again."""
        patients = self._consenting(context.plan)
        consent = Consent(self._site.key_id, self._site.names(context.plan, patients))
        reply = self._site.release(context.plan, task, patients, cancelled)
        return self._gate.leave(reply, dataclasses.replace(context, consent=consent))

    def _consenting(self, plan: Plan) -> list[str]:
        scored = self._table.patients[self._site.scored(plan)]
        return consenting(scored, read_consent(self._policy.consent))

    def _admit(self, task: SiteTask, departure: Entry) -> Context:
        """Everything that must hold before any work is done."""
        try:
            plan = parse_plan(task.plan_text, "plan")
        except (InputError, RecursionError) as error:
            log.warning("a plan was refused: %s", error)
            sentence = "the plan is not valid, or needs another version of this software"
            raise Refused("bad-plan", sentence) from None
        policy.check_approved(plan, self._policy, self._approved())
        policy.check_limits(plan, departure.job, self._policy)
        policy.check_task(task, plan, self._arm_sizes(plan, task))
        departure = dataclasses.replace(departure, study=plan.study.name)
        context = Context(self._name, plan, task, departure, *self._patients(plan, task))
        context = dataclasses.replace(context, cost=budget.job_cost(plan, task))
        policy.check_cohort(context.n_patients, self._policy)
        if plan.aggregation.secure:
            self._sessions.trust()
        if isinstance(task, TrainTask) and task.masking is not None:
            mask = partial(self._sessions.mask, plan, task)
            context = dataclasses.replace(context, mask=mask)
        return context

    def _approved(self) -> frozenset[str]:
        """The approvals as they stand now: to approve or revoke needs no restart."""
        if self._policy.approvals == "any":
            return frozenset()
        path = self._policy.approved
        try:
            return policy.parse_approvals(path.read_text(encoding="utf-8"), str(path))
        except FileNotFoundError:
            return frozenset()
        except (OSError, ValueError) as error:
            log.error("the approvals cannot be read: %s", error)
            raise Refused("not-approved", "this site's approvals cannot be read") from None

    def _arm_sizes(self, plan: Plan, task: SiteTask) -> dict[str, int]:
        if isinstance(task, EnrolTask | MomentsTask):
            return {}
        if self._sizes[0] != plan.digest:
            self._sizes = (plan.digest, arm_sizes(plan))
        return self._sizes[1]

    def _patients(
        self, plan: Plan, task: SiteTask
    ) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
        rows = np.arange(len(self._table))
        if isinstance(task, TrainTask | MomentsTask | AdaptTask):
            rows = np.flatnonzero(self._table.split == "train")
        elif isinstance(task, EvaluateTask):
            rows = self._site.scored(plan)
        elif isinstance(task, ReleaseTask):
            rows = np.flatnonzero(
                np.isin(self._table.patients.astype(str), self._consenting(plan))
            )
        return count_patients(self._table.take(rows))


def departure_of(task: SiteTask, data: str = "") -> Entry:
    """The ledger entry of an answer to ``task``, asked of ``data``, but for what left. ``input``
    is the question, so that a task sent again, with a new deadline, is the same task."""
    return Entry(
        run=hashlib.sha256(task.plan_text.encode()).hexdigest(),
        job=task.to_message().kind,
        round=0 if isinstance(task, EnrolTask | MomentsTask) else task.round,
        kind="",
        n_bytes=0,
        sha256="",
        input=question_of(task),
        data=data,
        note=summed(task) if isinstance(task, UnmaskTask) else "",
    )


def _occasion(task: SiteTask, departure: Entry) -> str:
    """Under which key the reply is kept: the question, the state of the data it was asked of, and
    the masks if it is to leave masked."""
    key = [departure.run, departure.job, departure.input, departure.data]
    if isinstance(task, TrainTask) and task.masking is not None:
        key.append(task.masking.binding(departure.input).hex())
    return hashlib.sha256(repr(tuple(key)).encode()).hexdigest()


def _tell(departure: Entry, outcome: str, started: float, n_bytes: int = 0) -> None:
    """One line a job."""
    log.info(
        "job=%s round=%d run=%s outcome=%s bytes=%d seconds=%.2f",
        departure.job,
        departure.round,
        departure.run[:12] or "-",
        outcome,
        n_bytes,
        time.monotonic() - started,
    )
