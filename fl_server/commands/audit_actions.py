"""What ``infomri audit`` does once its options are read."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from fl_server.audit.external import Source, audit_masks, external_table
from fl_server.inference.trained_arm import read_model
from fl_server.study.evaluation.reaudit import AuditRequest, Repeated, repeat_audit, run_folder
from fl_server.terminal.exit_codes import interrupted
from fl_server.terminal.screen import Screen
from fl_server.tracking.tracker import Tracker
from infomri_core.plan.reading import parse_plan
from infomri_core.report.verdict import verdict
from infomri_core.results.frontier import to_json
from infomri_core.results.table import print_frontier
from infomri_core.system.errors import InputError

__all__ = ["AuditRequest", "audit_external", "audit_run", "names", "numbers", "steps"]


def audit_run(asked: AuditRequest, *, as_json: bool = False) -> None:
    """Repeat the audit, print table and verdict, attach the files to the run in MLflow."""
    with _shown(as_json, _n_attacks(asked)) as say:
        repeated = repeat_audit(asked, say)
    headline = verdict(repeated.rows, repeated.meta).headline
    if as_json:
        rows = [to_json(row) for row in repeated.rows]
        files = [str(path) for path in repeated.files]
        print(json.dumps({"verdict": headline, "rows": rows, "files": files}, indent=2))
    else:
        console = Console()
        print_frontier(console, repeated.rows, repeated.meta)
        console.print(headline, style="bold")
        for path in repeated.files:
            console.print(str(path), soft_wrap=True)
    if repeated.unwritten is not None:
        raise repeated.unwritten
    _attach(repeated)


def audit_external(
    directory: Path,
    audit: str | None,
    attacks: tuple[str, ...],
    steps: Mapping[str, int],
    out: Path | None,
    device: str,
    *,
    as_json: bool = False,
) -> None:
    """Audit masks and k-space made elsewhere; print the table where the truth is known."""
    console = Console()
    if audit is None:
        remedy = "give --audit URI: images like those that were measured"
        raise InputError("--audit", "the URI of an audit set", "none", remedy)
    source = Source(directory, audit, attacks, steps, out or directory, device)
    with _shown(as_json, len(attacks)) as say:
        found = audit_masks(source, say)
    if as_json:
        files = [str(path) for path in found.files]
        print(json.dumps({"quality": found.quality, "files": files}, indent=2))
        return
    if found.quality:
        external_table(found).print(console)
    else:
        console.print(
            "There is no truth.npy, so PSNR cannot be computed: look at the reconstructions."
        )
    for path in found.files:
        console.print(str(path), soft_wrap=True)


@contextmanager
def _shown(as_json: bool, n_attacks: int) -> Iterator[Callable[[str], None]]:
    """Sentences as lines, above a bar with the time left while attacks are fitted."""
    stands = "nothing was written; the same command starts again"
    with interrupted(stands), Screen(Console(stderr=as_json)) as screen:
        started = {"event": "audit", "sentence": "fitting the attackers"}
        screen.show(started | {"time": time.time(), "steps": n_attacks})

        def say(sentence: str) -> None:
            kind = "attack" if sentence.startswith("attack ") else "step"
            screen.show({"event": kind, "sentence": sentence, "time": time.time()})

        yield say


def _n_attacks(asked: AuditRequest) -> int:
    stored = parse_plan(read_model(run_folder(asked.run)).plan_text)
    return len(asked.attacks or stored.evaluation.attacks)


def names(text: str) -> tuple[str, ...]:
    """Names separated by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def numbers(text: str) -> tuple[float, ...]:
    """Numbers separated by commas. ``InputError`` when one is none."""
    try:
        return tuple(float(part.removesuffix("x")) for part in names(text))
    except ValueError:
        raise InputError("--accelerations", "numbers such as 16,32", text, "correct it") from None


def steps(text: str) -> dict[str, int]:
    """NAME=N pairs separated by commas. ``InputError`` when one is none."""
    found = {}
    for part in names(text):
        name, _, number = part.partition("=")
        if not number.isdecimal():
            raise InputError("--steps", "NAME=N such as unet=1500", part, "correct it")
        found[name] = int(number)
    return found


def _attach(repeated: Repeated) -> None:
    if repeated.centre is None:
        return
    tracker = Tracker(repeated.centre, repeated.plan, repeated.folder.name)
    for path in repeated.files:
        tracker.artifact(path)
    tracker.finish("FINISHED")
