"""What every phase of a study works with."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fl_server.aggregation.strategy import ServerState
from fl_server.run.events import Progress
from fl_server.settings import CentreSettings
from fl_server.sites.base import Sites
from fl_server.study.enrolment import Roster
from fl_server.study.sessions import Sessions
from fl_server.tracking.tracker import Tracker
from infomri_core.data import SliceDataset
from infomri_core.plan.plan import Plan


@dataclass(frozen=True)
class StudyContext:
    """One run of a plan over ``sites``; everything it leaves lies in ``directory``. ``sessions``
    are those of secure aggregation; ``guard`` is called before files are written, and may raise
    to keep them unwritten."""

    plan: Plan
    centre: CentreSettings
    sites: Sites
    roster: Roster
    audit_set: SliceDataset
    directory: Path
    progress: Progress
    tracker: Tracker
    device: torch.device
    sessions: Sessions = field(default_factory=Sessions)
    guard: Callable[[], None] = lambda: None

    @property
    def n_phases(self) -> int:
        """Rounds of training, the scoring, and the conclusion: what progress is counted in."""
        return self.plan.training.rounds + 2


@dataclass
class State:
    """Where a study stands: what a checkpoint holds."""

    round: int
    arms: dict[str, np.ndarray]
    variance: np.ndarray
    dropped: dict[str, str] = field(default_factory=dict)
    history: dict[str, Any] = field(default_factory=lambda: {"rounds": []})
    server: dict[str, ServerState] = field(default_factory=dict)
    factors: np.ndarray | None = None
