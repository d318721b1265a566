"""The study from the first site to the last figure: enrol, train in rounds, audit, evaluate."""

from collections.abc import Callable
from pathlib import Path
from typing import final

import numpy as np
import torch

from fl_server.audit.adversaries import check_audit_set
from fl_server.run import checkpoint
from fl_server.run.checkpoint import Checkpoint
from fl_server.run.events import Progress
from fl_server.settings import CentreSettings
from fl_server.sites.base import Sites
from fl_server.study.context import State, StudyContext
from fl_server.study.enrolment import Roster
from fl_server.study.epsilon import report_epsilons
from fl_server.study.evaluation.evaluation import evaluate_study
from fl_server.study.moments import public_moments, sites_variance, tell_clipping
from fl_server.study.round import train_round
from fl_server.tracking.tracker import Tracker
from infomri_core.arms.build import build_model
from infomri_core.arms.weights import flatten
from infomri_core.data import SliceDataset
from infomri_core.plan.plan import Plan
from infomri_core.results.frontier import Row
from infomri_core.suppression.factors import audit_factors
from infomri_core.suppression.registry import needs_factors


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
        guard: Callable[[], None] = lambda: None,
    ) -> None:
        self.plan = plan
        progress = Progress(directory / "events.jsonl", guard)
        roster = Roster(sites, plan, progress)
        self._setting = StudyContext(
            *(plan, centre, sites, roster, audit_set, directory, progress, tracker, device),
            guard=guard,
        )
        check_audit_set(plan, audit_set)

    def run(self) -> list[Row]:
        """Run from the newest checkpoint, or from the start, to ``results.json``.

        Raises ``StudyFailed`` when the quorum is missed; checkpoints stay for ``--resume``.
        """
        return evaluate_study(self._setting, self.train())

    def train(self) -> State:
        """The rounds alone: the state after the last, which is the newest checkpoint.

        Raises ``StudyFailed`` as :meth:`run` does.
        """
        state = self._restore()
        while state.round < self.plan.training.rounds:
            train_round(self._setting, state)
            self._save(state)
        return state

    def _restore(self) -> State:
        saved = checkpoint.latest(self._checkpoints, self.plan.digest)
        if saved is not None:
            self._setting.progress.report(
                "resume",
                f"resuming after round {saved.round}",
                steps=self.plan.training.rounds,
                done=saved.round,
                run=self._setting.directory.name,
            )
            arms = {
                arm.name: np.array(saved.arms[arm.name])
                for arm in self.plan.arms
                if arm.name in saved.arms
            }
            return State(
                saved.round,
                arms,
                saved.variance,
                dict(saved.dropped),
                dict(saved.history),
                dict(saved.server),
                saved.factors,
            )
        audit_set = self._setting.audit_set
        audit_images = audit_set.images(np.arange(len(audit_set)))
        state = self._begin(audit_images)
        if needs_factors(arm.suppression for arm in self.plan.arms):
            state.factors = audit_factors(audit_images).numpy()
        self._save(state)
        names = ", ".join(state.arms)
        sentence = f"study {self.plan.study.name}: arms {names}"
        self._setting.progress.report(
            "start",
            sentence,
            steps=self.plan.training.rounds,
            run=self._setting.directory.name,
        )
        return state

    def _begin(self, audit_images: torch.Tensor) -> State:
        public = public_moments(audit_images)
        if self.plan.moments is None:
            return initial_state(self.plan, public.variance)
        tell_clipping(self._setting, audit_images, public)
        variance, epsilons = sites_variance(self._setting, public)
        state = initial_state(self.plan, variance)
        report_epsilons(state.history, epsilons)
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
            state.factors,
        )
        keep = self._setting.centre.centre.keep_checkpoints
        self._setting.guard()
        checkpoint.save(self._checkpoints, snapshot, keep)

    @property
    def _checkpoints(self) -> Path:
        return self._setting.directory / "checkpoints"


def initial_state(plan: Plan, variance: torch.Tensor) -> State:
    """Fresh weights of every arm; ``variance`` (2, H, W) of k-space is their spectral start's and
    the entropy's."""
    variance = variance.float()
    arms = {arm.name: flatten(build_model(plan, arm, variance)) for arm in plan.arms}
    return State(0, arms, variance.numpy())
