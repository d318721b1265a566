"""``infomri diagnose``: a task's answers from k-space under the learned mask."""

from pathlib import Path
from typing import Annotated

import typer

from fl_server.commands import trained_options as given
from fl_server.commands.scans.opening import opened


def diagnose(
    inputs: given.Inputs,
    model: given.Model,
    acceleration: given.Acceleration,
    beta: given.Beta = None,
    sampler: given.SamplerName = None,
    arm: given.ArmName = None,
    arm_seed: given.ArmSeed = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="CSV file to write; default: stdout.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of masks and noise.")] = 0,
    draws: Annotated[
        int, typer.Option("--draws", min=1, help="Masks a slice; each measures more of k-space.")
    ] = 1,
    magnitude: given.Magnitude = False,
    kspace: given.Kspace = False,
    device: given.Device = "auto",
    store: given.Store = "",
) -> None:
    """Diagnose scans from k-space that is measured under an arm's mask (InfoMRI, Algorithm 5).

    INPUT is a .npy file of images or of centred complex k-space, (H, W) or (n, H, W), a greyscale
    .png, or a data URI such as slices:knees.h5?split=val.

    Writes one CSV row a slice: each answer, such as a label's probability (mean and standard
    deviation over the draws), the arm, and how many different points of k-space were measured.
    A file of images is divided by its own 99.9th percentile and clipped to [0, 1], so give a
    volume as one file (n, H, W); it is measured with the noise of the training. A file of
    single-coil k-space has noise of its own: it is scaled alike and only the mask is applied.
    Whether a complex .npy file is k-space or an image with phase cannot be seen: say --kspace, or
    --magnitude for the magnitude image of its k-space.

    Example: `infomri diagnose --model runs/knee --beta 3e-5 --acceleration 32 knee.npy`
    """
    from fl_server.inference.table import diagnose_scan, to_csv
    from infomri_core.inference.inference import ArmQuery
    from infomri_core.system.errors import InputError
    from infomri_core.system.files import check_output, write_atomically
    from infomri_core.system.progress import on_stderr

    if out is not None:
        check_output(out.parent)
    query = ArmQuery(arm, beta, sampler, arm_seed)
    given_to = (inputs, model, store, query, acceleration, device)
    trained, scans = opened(*given_to, magnitude=magnitude, kspace=kspace)
    rows, n_slices = [], sum(len(scan.source) for scan in scans)
    with on_stderr().phase("diagnosing", unit="slices", total=n_slices) as step:
        for scan in scans:
            for row in diagnose_scan(trained, scan, acceleration, seed, draws):
                rows.append(row)
                step()
    table = to_csv(trained.plan.task, rows)
    if out is None:
        typer.echo(table, nl=False)
    else:
        try:
            write_atomically(out, table.encode())
        except OSError as error:
            typer.echo(table, nl=False)
            got = error.strerror or type(error).__name__
            remedy = "the table is printed above: keep that, or choose another --out"
            raise InputError(str(out), "a file to write", got, remedy) from None
        typer.echo(f"{len(rows)} rows in {out}", err=True)
