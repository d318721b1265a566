"""Optimizer state on a site's disk, so that a study resumes as if nothing had happened."""

import re
from pathlib import Path
from typing import final

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from infomri_core.files import write_atomically

KEPT_ROUNDS = 2


@final
class OptimizerStore:
    """Adam's state for each (plan, arm, round); the last two rounds are kept.

    Two, because a round whose reply was lost is computed again from the state before it.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def load(self, plan: str, arm: str, round_number: int) -> dict[str, np.ndarray] | None:
        """The state after a round; None before the first, or when there is none to be read."""
        path = self._path(plan, arm, round_number)
        try:
            return load_file(path)
        except (FileNotFoundError, SafetensorError):
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
