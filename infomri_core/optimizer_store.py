"""Optimizer state on a site's disk, so that a study resumes as if nothing had happened."""

import logging
import re
from pathlib import Path
from typing import final

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from infomri_core.files import write_atomically

KEPT_ROUNDS = 3

log = logging.getLogger(__name__)


@final
class OptimizerStore:
    """Adam's state for each (plan, arm, round); the last three rounds are kept.

    As many as a study centre keeps checkpoints by default: it may go back to the oldest of them.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def load(self, plan: str, arm: str, round_number: int) -> dict[str, np.ndarray] | None:
        """The state after a round; None before the first, or when there is none to be read, which
        the log then says: such a round is not what it would have been."""
        path = self._path(plan, arm, round_number)
        try:
            return load_file(path)
        except (FileNotFoundError, SafetensorError):
            if round_number > 0:
                log.warning(
                    "arm %s goes on after round %d with a fresh optimizer: its state is not here",
                    arm,
                    round_number,
                )
            return None

    def save(self, plan: str, arm: str, round_number: int, state: dict[str, np.ndarray]) -> None:
        """Write the state after a round, atomically, and forget the rounds before the last."""
        path = self._path(plan, arm, round_number)
        write_atomically(path, save(state))
        for old in path.parent.glob("round-*.safetensors"):
            if int(old.stem.removeprefix("round-")) <= round_number - KEPT_ROUNDS:
                old.unlink()

    def _path(self, plan: str, arm: str, round_number: int) -> Path:
        safe = re.sub(r"[^A-Za-z0-9.+-]", "_", arm)
        return self._directory / plan[:16] / safe / f"round-{round_number:05d}.safetensors"
