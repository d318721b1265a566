"""The study from the first site to the last figure: enrol, train in rounds, audit, evaluate."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch

from fl_server import checkpoint
from fl_server.audit import check_audit_set, fit_audit
from fl_server.checkpoint import Checkpoint
from fl_server.examples import examples_for
from fl_server.privacy import max_epsilon, study_epsilon
from fl_server.progress import Progress
from fl_server.release import collect_release
from fl_server.replies import check_update
from fl_server.results import MergedScores, build_rows, record, study_meta
from fl_server.roster import Roster, StudyFailed, deadline
from fl_server.settings import CentreSettings
from fl_server.sites import Sites
from fl_server.strategies import Aggregate, ServerState, aggregate, step
from fl_server.tracking import Tracker
from infomri_core.data import SliceDataset
from infomri_core.errors import InputError
from infomri_core.exchange import EvaluateReply, EvaluateTask, TrainReply, TrainTask
from infomri_core.frontier import Row
from infomri_core.kspace import fft2c
from infomri_core.plan import Plan
from infomri_core.statistics import KSpaceMoments
from infomri_core.tasks.classification import build_model, flatten

ATTEMPTS = 3


@dataclass
class State:
    """Where a study stands: what a checkpoint holds."""

    round: int
    arms: dict[str, np.ndarray]
    variance: np.ndarray
    dropped: dict[str, str] = field(default_factory=dict)
    history: dict[str, Any] = field(default_factory=lambda: {"rounds": []})
    server: dict[str, ServerState] = field(default_factory=dict)


@final
class Study:
    """One run of a plan over ``sites``; everything it leaves lies in ``directory``."""

    def __init__(
        self,
        plan: Plan,
        centre: CentreSettings,
        sites: Sites,
        audit_set: SliceDataset,
        directory: Path,
        tracker: Tracker,
        device: torch.device,
    ) -> None:
        self.plan = plan
        self._centre = centre
        self._sites = sites
        self._audit_set = audit_set
        self._directory = directory
        self._tracker = tracker
        self._device = device
        self._progress = Progress(directory / "events.jsonl")
        self._n_phases = plan.training.rounds + 2
        self._roster = Roster(sites, plan, self._progress)
        check_audit_set(plan, audit_set)

    def run(self) -> list[Row]:
        """Run from the newest checkpoint, or from the start, to ``results.json``.

        Raises ``StudyFailed`` when the quorum is missed; checkpoints stay for ``--resume``.
        """
        state = self._restore()
        while state.round < self.plan.training.rounds:
            self._train_round(state)
            self._save(state)
        return self._conclude(state)

    def _restore(self) -> State:
        saved = checkpoint.latest(self._directory / "checkpoints", self.plan.digest)
        if saved is not None:
            self._progress.tell("resume", f"resuming after round {saved.round}")
            arms = {name: np.array(flat) for name, flat in saved.arms.items()}
            return State(
                saved.round,
                arms,
                saved.variance,
                dict(saved.dropped),
                dict(saved.history),
                dict(saved.server),
            )
        state = initial_state(self.plan, self._audit_set.images(np.arange(len(self._audit_set))))
        self._save(state)
        names = ", ".join(state.arms)
        self._progress.tell("start", f"study {self.plan.study.name}: arms {names}")
        return state

    def _save(self, state: State) -> None:
        snapshot = Checkpoint(
            self.plan.text,
            state.round,
            state.arms,
            state.variance,
            state.dropped,
            state.history,
            state.server,
        )
        keep = self._centre.centre.keep_checkpoints
        checkpoint.save(self._directory / "checkpoints", snapshot, keep)

    def _train_round(self, state: State) -> None:
        number = state.round + 1
        for _ in range(ATTEMPTS):
            nodes = self._roster.participants(number)
            if self._try_round(state, number, nodes):
                state.round = number
                return
        raise StudyFailed(
            f"round {number} was answered by fewer than {self.plan.training.quorum} sites "
            f"{ATTEMPTS} times; mend the sites named above and resume"
        )

    def _try_round(self, state: State, number: int, nodes: list[str]) -> bool:
        started = time.monotonic()
        rules = self.plan.aggregation
        sums = {name: aggregate(rules, len(flat)) for name, flat in state.arms.items()}
        replies: dict[str, TrainReply] = {}
        dropped: dict[str, str] = {}
        task = TrainTask(self.plan.text, number, self._deadline(), state.variance, state.arms)
        for node, reply in self._sites.ask(task, nodes):
            if not isinstance(reply, TrainReply):
                self._roster.tell_refusal(node, reply, number)
                continue
            if self._add(sums, reply, node, number):
                replies[node] = replace(reply, arms={})
                where = self._roster.name(node)
                dropped |= dict.fromkeys(reply.dropped, f"diverged at {where}")
        if len(replies) < self.plan.training.quorum:
            return False
        self._close_round(state, number, sums, replies, dropped, time.monotonic() - started)
        return True

    def _add(self, sums: dict[str, Aggregate], reply: TrainReply, node: str, number: int) -> bool:
        try:
            check_update(self.plan, reply, sums)
            for name, flat in reply.arms.items():
                sums[name].check(flat, reply.n_samples)
        except InputError as error:
            self._progress.tell(
                "refused", f"round {number}: reply of {self._roster.name(node)} not used: {error}"
            )
            return False
        for name, flat in reply.arms.items():
            sums[name].add(flat, reply.n_samples)
        return True

    def _close_round(
        self,
        state: State,
        number: int,
        sums: dict[str, Aggregate],
        replies: dict[str, TrainReply],
        dropped: dict[str, str],
        seconds: float,
    ) -> None:
        for name, why in dropped.items():
            self._progress.tell("dropped", f"round {number}: arm {name} dropped: {why}")
            state.dropped[name] = why
            self._tracker.dropped(name, why)
            del state.arms[name]
            state.server.pop(name, None)
        if not state.arms:
            raise StudyFailed("every arm diverged; lower the learning rate in the plan")
        for name, flat in state.arms.items():
            state.arms[name], state.server[name] = step(
                self.plan.aggregation, flat, sums[name].value(), state.server.get(name, {})
            )
        losses, epsilon = mean_losses(replies.values(), state.arms), max_epsilon(replies.values())
        state.history["rounds"].append(
            {
                "round": number,
                "sites": sorted(self._roster.name(node) for node in replies),
                "n_train": sum(reply.n_samples for reply in replies.values()),
                "losses": losses,
                "epsilon": epsilon,
                "seconds": seconds,
            }
        )
        shared = {"phase_seconds/train": seconds, "sites": float(len(replies))}
        if epsilon is not None:
            shared["epsilon"] = epsilon
        self._tracker.round(number, round_metrics(losses), shared)
        ce = ", ".join(f"{name} {terms['ce']:.3f}" for name, terms in losses.items())
        self._progress.tell(
            "round",
            f"round {number}/{self.plan.training.rounds}: {len(replies)} sites, "
            f"{seconds:.1f} s, CE {ce}",
            phase=number,
            phases=self._n_phases,
            losses=losses,
            seconds=seconds,
        )

    def _conclude(self, state: State) -> list[Row]:
        self._progress.tell("audit", "fitting the attackers on the study centre's audit set")
        started = time.monotonic()
        fitted = fit_audit(
            self.plan,
            self._centre.audit,
            self._audit_set,
            state.arms,
            self._device,
            lambda sentence: self._progress.tell("attack", sentence),
        )
        audit_seconds = time.monotonic() - started
        done = self.plan.training.rounds + 1
        self._progress.tell(
            "evaluate",
            "sites score the arms and the attacks",
            phase=done,
            phases=self._n_phases,
        )
        started = time.monotonic()
        task = EvaluateTask(
            self.plan.text,
            state.round,
            self._deadline(),
            state.arms,
            fitted.adversaries.to_arrays(),
        )
        merged = MergedScores(self.plan)
        for node, reply in self._sites.ask(task, self._roster.participants(state.round)):
            if not isinstance(reply, EvaluateReply):
                self._roster.tell_refusal(node, reply, state.round)
            elif not merged.add(self._roster.name(node), reply):
                sentence = f"scores of {self._roster.name(node)} not used: not of this plan's form"
                self._progress.tell("refused", sentence)
        if not merged.sites:
            raise StudyFailed("no site could be scored; see the refusals above")
        seconds = {"audit": audit_seconds, "evaluate": time.monotonic() - started}
        n_train = state.history["rounds"][-1]["n_train"]
        epsilon = study_epsilon(state.history)
        rows = build_rows(self.plan, merged, fitted, n_train, state.round)
        rows = [replace(row, epsilon=epsilon) for row in rows]
        meta = study_meta(self.plan, fitted, merged, state.dropped, state.history, seconds)
        meta["audit_data"] = self._centre.audit.data
        meta["released"] = collect_release(
            self.plan, state.arms, self._sites, self._roster, self._directory, self._progress
        )
        shown = examples_for(self.plan, rows, state.arms, fitted, self._audit_set, self._device)
        record(self._directory, self.plan, rows, meta, self._tracker, shown)
        self._progress.tell(
            "finished",
            f"results in {self._directory / 'results.json'}",
            phase=self._n_phases,
            phases=self._n_phases,
        )
        return rows

    def _deadline(self) -> float:
        return deadline(self.plan)


def initial_state(plan: Plan, audit_images: torch.Tensor) -> State:
    """Fresh weights of every arm; k-space variance and spectral start from the audit set."""
    variance = KSpaceMoments.from_kspace(fft2c(audit_images.double())).variance.float()
    arms = {arm.name: flatten(build_model(plan, arm, variance)) for arm in plan.arms}
    return State(0, arms, variance.numpy())


def mean_losses(replies: Iterable[TrainReply], arms: Iterable[str]) -> dict[str, dict[str, float]]:
    """Loss terms of each arm, averaged over the sites by their sample counts."""
    replies = list(replies)
    n = sum(reply.n_samples for reply in replies)
    means: dict[str, dict[str, float]] = {}
    for name in arms:
        for reply in replies:
            for term, value in reply.losses.get(name, {}).items():
                terms = means.setdefault(name, {})
                terms[term] = terms.get(term, 0.0) + value * reply.n_samples / n
    return means


def round_metrics(losses: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """MLflow's names for an arm's loss terms."""
    return {
        name: {f"train/{term}": value for term, value in terms.items()}
        for name, terms in losses.items()
    }
