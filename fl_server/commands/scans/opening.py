"""How every command on scans begins: the arm is opened, then the scans, and their notes said."""

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from fl_server.inference.trained_arm import TrainedArm
    from infomri_core.inference.inference import ArmQuery
    from infomri_core.inference.scans import Scan


def opened(
    inputs: list[str],
    model: str,
    store: str,
    query: "ArmQuery",
    acceleration: float,
    device: str,
    *,
    magnitude: bool,
    kspace: bool,
) -> "tuple[TrainedArm, list[Scan]]":
    """The arm of ``query`` and the scans in the shape of its plan; on stderr, what a person should
    know of both. Raises ``InputError``, for an acceleration that the arm does not serve as well.
    """
    from fl_server.inference.trained_arm import open_arm
    from fl_server.tracking.store import local_model
    from infomri_core.inference.inference import sampling_ratio
    from infomri_core.inference.scans import open_scan

    trained = open_arm(local_model(model, store), query, device)
    sampling_ratio(trained.plan, acceleration)
    scans = [open_scan(text, trained.plan.task.shape, magnitude, kspace) for text in inputs]
    notes = [trained.caution, *(f"{scan.name}: {scan.note}" for scan in scans)]
    typer.echo("\n".join(note for note in notes if note), err=True)
    return trained, scans
