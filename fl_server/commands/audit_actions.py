"""What ``infomri audit`` does once its options are read."""

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from fl_server.external import Source, audit_masks, external_table
from fl_server.reaudit import Asked, Repeated, repeat_audit
from fl_server.tracking import Tracker
from infomri_core.errors import InputError
from infomri_core.frontier_table import table
from infomri_core.privacy.verdict import verdict

__all__ = ["Asked", "audit_external", "audit_run", "names", "numbers", "steps"]


def audit_run(asked: Asked) -> None:
    """Repeat the audit, print table and verdict, attach the files to the run in MLflow."""
    console = Console()
    repeated = repeat_audit(asked, lambda sentence: console.print(f"  {sentence}"))
    console.print(table(repeated.rows, repeated.meta))
    console.print(verdict(repeated.rows, repeated.meta).headline, style="bold")
    for path in repeated.files:
        console.print(str(path), soft_wrap=True)
    _attach(repeated)


def audit_external(
    directory: Path,
    audit: str | None,
    attacks: tuple[str, ...],
    steps: Mapping[str, int],
    out: Path | None,
    device: str,
) -> None:
    """Audit masks and k-space made elsewhere; print the table where the truth is known."""
    console = Console()
    if audit is None:
        remedy = "give --audit URI: images like those that were measured"
        raise InputError("--audit", "the URI of an audit set", "none", remedy)
    source = Source(directory, audit, attacks, steps, out or directory, device)
    found = audit_masks(source, lambda sentence: console.print(f"  {sentence}"))
    if found.quality:
        console.print(external_table(found))
    else:
        console.print(
            "There is no truth.npy, so nobody can say how near the reconstructions come: PSNR "
            "cannot be known. Look at them."
        )
    for path in found.files:
        console.print(str(path), soft_wrap=True)


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
