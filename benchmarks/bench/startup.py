"""How long the programs take to say something, beside an interpreter that says nothing."""

import resource
import subprocess
import sys
from pathlib import Path

COMMANDS = {
    "infomri --help": ("infomri", "--help"),
    "infomri --version": ("infomri", "--version"),
    "infomri-client --help": ("infomri-client", "--help"),
    "infomri-client --version": ("infomri-client", "--version"),
}


def table(n_times: int) -> dict[str, dict[str, float]]:
    """Least processor seconds of each command in ``n_times`` runs, and of ``python -c ''``."""
    folder = Path(sys.executable).parent
    empty = min(_seconds([sys.executable, "-c", ""]) for _ in range(n_times))
    found = {"python -c ''": {"processor, s": empty}}
    for name, (program, option) in COMMANDS.items():
        least = min(_seconds([str(folder / program), option]) for _ in range(n_times))
        found[name] = {"processor, s": least, "goal": 0.3}
    return found


def _seconds(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
