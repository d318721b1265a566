"""Optimizer state on a site's disk, so that a study resumes as if nothing had happened."""

import hashlib
import logging
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import final

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from infomri_core.plan.plan import Plan
from infomri_core.system.errors import Refused
from infomri_core.system.files import write_atomically

KEPT_ROUNDS = 3
_SUM_BYTES = 32

Witness = Callable[[str, int], bool]
"""Whether an update of a plan (by digest) and round has left this site."""

log = logging.getLogger(__name__)


@final
class OptimizerStore:
    """Adam's state for each (plan, arm, round); the last three rounds are kept.

    As many as a study centre keeps checkpoints by default: it may go back to the oldest of them.
    A file ends with the sha256 of what stands before. ``trained`` tells a state that was lost from
    one that never was, as of a site that joins late.
    """

    def __init__(self, directory: Path, trained: Witness = lambda plan, number: False) -> None:
        self._directory = directory
        self._trained = trained

    def load(self, plan: str, arm: str, round_number: int) -> dict[str, np.ndarray] | None:
        """The state after a round; None before the first, and where none is to be had."""
        return self._read(self._path(plan, arm, round_number)) or None

    def lost(self, plan: Plan, arms: Iterable[str], round_number: int) -> tuple[str, ...]:
        """The arms whose state after a round is damaged, or missing though the site trained it.

        Raises ``Refused("state-lost")`` for them unless the plan's ``lost_state`` is "continue".
        """
        names = tuple(n for n in arms if round_number and self._is_lost(plan, n, round_number))
        if not names:
            return ()
        what = f"the optimizer state after round {round_number} of {', '.join(names)}"
        log.warning("%s is lost or damaged", what)
        if plan.training.lost_state == "refuse":
            sentence = f"{what} is lost or damaged at this site, and the plan wants no fresh one"
            raise Refused("state-lost", sentence)
        return names

    def save(self, plan: str, arm: str, round_number: int, state: dict[str, np.ndarray]) -> None:
        """Write the state after a round, atomically, and forget the rounds before the last. An
        empty one says that the arm diverged, and starts the next round from scratch."""
        path, data = self._path(plan, arm, round_number), save(state)
        write_atomically(path, data + hashlib.sha256(data).digest())
        for old in path.parent.glob("round-*.safetensors"):
            if int(old.stem.removeprefix("round-")) <= round_number - KEPT_ROUNDS:
                old.unlink()

    def _is_lost(self, plan: Plan, arm: str, round_number: int) -> bool:
        path = self._path(plan.digest, arm, round_number)
        if self._read(path) is not None:
            return False
        return path.exists() or self._trained(plan.digest, round_number)

    def _read(self, path: Path) -> dict[str, np.ndarray] | None:
        """What was written to ``path``; None where it is missing or not what was written."""
        try:
            written = path.read_bytes()
            data, digest = written[:-_SUM_BYTES], written[-_SUM_BYTES:]
            return load(data) if hashlib.sha256(data).digest() == digest else None
        except (OSError, SafetensorError):
            return None

    def _path(self, plan: str, arm: str, round_number: int) -> Path:
        safe = re.sub(r"[^A-Za-z0-9.+-]", "_", arm)
        return self._directory / plan[:16] / safe / f"round-{round_number:05d}.safetensors"
