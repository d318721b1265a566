"""Following a submitted run until it ends, across lost connections."""

import time

from rich.console import Console

from fl_server.control import Control
from fl_server.roster import StudyFailed
from infomri_core.errors import InputError

RETRY_SECONDS = 3.0
PATIENCE_SECONDS = 120.0


def follow(control: Control, run_id: str, console: Console) -> None:
    """Print a run's log as it grows; return when it completed, else raise ``StudyFailed``.

    A SuperLink that is gone for longer than two minutes ends the wait, not the run.
    """
    seen, lost_since = 0.0, None
    while True:
        try:
            for piece, latest in control.log(run_id, seen):
                seen = latest
                console.print(piece, end="", markup=False, highlight=False, soft_wrap=True)
            state = control.state(run_id)
            lost_since = None
        except InputError as error:
            lost_since = lost_since or time.monotonic()
            if time.monotonic() - lost_since > PATIENCE_SECONDS:
                raise StudyFailed(
                    f"{error}. The run may still go on: see `infomri status`"
                ) from None
        else:
            if state.finished:
                break
        time.sleep(RETRY_SECONDS)
    if state.outcome != "completed":
        why = state.details or ("`infomri stop`" if state.outcome == "stopped" else "see above")
        raise StudyFailed(
            f"run {run_id} {state.outcome}: {why}. "
            f"`infomri run --resume {run_id}` continues it from its last checkpoint"
        )
    console.print(f"run {run_id} completed")
