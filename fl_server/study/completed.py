"""A study that has completed stays so: resumed, it computes nothing and asks no site anything."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fl_server.run.events import Progress
from infomri_core.plan.plan import Plan
from infomri_core.results.frontier import Row, read_results, to_json
from infomri_core.results.table import caption_meta
from infomri_core.system.files import write_atomically

NAME = "completed.json"
RESULTS = "results.json"


def mark_completed(directory: Path, plan: Plan) -> None:
    """Note, last of all, that ``plan`` has run to its end in ``directory``."""
    said = {"plan": plan.digest, "results": _digest(directory / RESULTS)}
    write_atomically(directory / NAME, json.dumps(said).encode())


def completed_rows(directory: Path, plan: Plan) -> list[Row] | None:
    """The rows of a study that has completed in ``directory`` and whose results are whole; None
    where there is still something to do."""
    try:
        said = json.loads((directory / NAME).read_bytes())
        if said != {"plan": plan.digest, "results": _digest(directory / RESULTS)}:
            return None
    except (OSError, ValueError):
        return None
    return read_results(directory / RESULTS)[0]


def report_completed(progress: Progress, directory: Path, rows: list[Row]) -> None:
    """Say that there is nothing to do, and show the results again."""
    sentence = "this study has completed; nothing is computed again"
    progress.report("resume", sentence, run=directory.name)
    report_results(progress, rows, read_results(directory / RESULTS)[1])
    progress.report("finished", f"results in {directory / RESULTS}")


def report_results(progress: Progress, rows: list[Row], meta: Mapping[str, Any]) -> None:
    """The event by which a person who follows a run shows the frontier, with its caption."""
    shown = [to_json(row) for row in rows]
    progress.report("results", f"{len(rows)} rows", rows=shown, meta=caption_meta(meta))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
