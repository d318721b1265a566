"""Sites under watch: every answer goes to the run's events, and those to MLflow as they come."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, final

from fl_server.run import checkpoint
from fl_server.run.events import Progress
from fl_server.sites.base import Sites, in_process
from fl_server.tracking.tracker import Tracker
from infomri_core.messages import (
    DatasetCard,
    ErrorReply,
    EvaluateTask,
    MaskedReply,
    MomentsReply,
    ReleaseTask,
    SiteReply,
    SiteTask,
    TrainReply,
)
from infomri_core.results.study_file import NAME, StudyFile
from infomri_core.system.errors import InputError
from infomri_core.system.files import write_atomically

EVENTS = "events.jsonl"


@final
class RecordedSites:
    """Other ``sites``, whose answers are reported as events ``answer`` and ``silent``.

    An answer says who (``site``), to what (``phase``, ``round``), after how many ``seconds``, how
    many bytes of arrays went out and came back, and, of an update, ``n_samples``, ``epsilon`` and
    the site's ``budget`` ([spent by all studies, limit], None where it is not reported).
    Before the sites score it, the study is kept as one file
    (:mod:`infomri_core.results.study_file`).
    """

    def __init__(
        self,
        sites: Sites,
        directory: Path,
        tracker: Tracker,
        clock: Callable[[], float] = time.monotonic,
        guard: Callable[[], None] = lambda: None,
    ) -> None:
        self._sites = sites
        self._directory = directory
        self._tracker = tracker
        self._clock = clock
        self._guard = guard
        self._progress = Progress(directory / EVENTS, guard)
        self._names: dict[str, str] = {}
        self._traffic: dict[int, dict[str, int]] = {}
        self.in_process = in_process(sites)

    def online(self) -> list[str]:
        """Those of the sites behind."""
        return self._sites.online()

    def ask(self, task: SiteTask, to: Sequence[str]) -> Iterator[tuple[str, SiteReply]]:
        """Ask the sites behind; tell of each answer, and of those that gave none."""
        return self._watch(dict.fromkeys(to, task), lambda: self._sites.ask(task, to))

    def ask_each(self, tasks: Mapping[str, SiteTask]) -> Iterator[tuple[str, SiteReply]]:
        """:meth:`ask` with a task of its own for each node."""
        return self._watch(tasks, lambda: self._sites.ask_each(tasks))

    def _watch(
        self,
        tasks: Mapping[str, SiteTask],
        ask: Callable[[], Iterator[tuple[str, SiteReply]]],
    ) -> Iterator[tuple[str, SiteReply]]:
        kept = next((t for t in tasks.values() if isinstance(t, EvaluateTask)), None)
        if kept is not None:
            self._keep(kept)
        started, silent = self._clock(), dict(tasks)
        for node, reply in ask():
            silent.pop(node, None)
            if isinstance(reply, DatasetCard):
                self._names[node] = reply.site
                self._tracker.dataset(reply.site, reply.to_message().header)
            sizes = {"bytes_out": _size(tasks[node]), "bytes_in": _size(reply)}
            facts = _job(tasks[node]) | sizes | _told(reply)
            self._report(node, "answer", facts, self._clock() - started)
            self._count(tasks[node], sizes)
            yield node, reply
        for node, task in silent.items():
            self._report(node, "silent", _job(task), self._clock() - started)
        for number, n_bytes in self._traffic.items():
            self._tracker.traffic(number, n_bytes)
        self.publish()

    def publish(self) -> None:
        """Bring the events reported so far to MLflow."""
        if (self._directory / EVENTS).exists():
            self._tracker.artifact(self._directory / EVENTS)

    def submitted(self, operator: str) -> None:
        """Tell who submitted or resumed the study."""
        self._progress.report("submitted", f"submitted by operator {operator}", operator=operator)
        self._tracker.submitted(operator)

    def failed(self, error: BaseException) -> None:
        """Tell why the study ended early."""
        why = str(error) or type(error).__name__
        if isinstance(error, SystemExit):
            why = "its process was stopped, by someone or with the SuperLink"
        self._progress.report("failed", why)

    def _report(self, node: str, event: str, facts: dict[str, Any], seconds: float) -> None:
        site = self._names.get(node, f"node {node}")
        how = "answered" if event == "answer" else "did not answer"
        sentence = f"{site} {how} {facts['phase']} after {seconds:.1f} s"
        self._progress.report(event, sentence, site=site, seconds=seconds, **facts)

    def _count(self, task: SiteTask, sizes: Mapping[str, int]) -> None:
        """Add to the bytes of the round that trains now; scoring and releases are no training."""
        number = int(_job(task)["round"])
        if number and not isinstance(task, EvaluateTask | ReleaseTask):
            known = self._traffic.get(number, {})
            self._traffic = {number: {k: known.get(k, 0) + n for k, n in sizes.items()}}

    def _keep(self, task: EvaluateTask) -> None:
        saved = checkpoint.latest(self._directory / "checkpoints")
        if saved is None:
            raise InputError(str(self._directory), "a checkpoint", "none", "start the study again")
        kept = StudyFile(task.plan_text, task.round, saved.variance, task.arms, task.attacks)
        self._guard()
        write_atomically(self._directory / NAME, kept.to_bytes())
        self._tracker.artifact(self._directory / NAME)


def _job(task: SiteTask) -> dict[str, Any]:
    message = task.to_message()
    return {"phase": message.kind, "round": message.header.get("round", 0)}


def _size(message: SiteTask | SiteReply) -> int:
    """Bytes of the arrays in a message; its header, a few kB, is not counted."""
    return sum(array.nbytes for array in message.to_message().arrays.values())


def _told(reply: SiteReply) -> dict[str, Any]:
    if isinstance(reply, ErrorReply):
        return {"refused": f"{reply.code}: {reply.sentence}"}
    if isinstance(reply, TrainReply | MaskedReply | MomentsReply):
        counts = {"n_samples": reply.n_samples} if isinstance(reply, TrainReply) else {}
        return counts | {"epsilon": reply.epsilon, "budget": reply.budget}
    if isinstance(reply, DatasetCard):
        return {"n_patients": reply.n_patients, "n_slices": reply.n_slices}
    return {}
