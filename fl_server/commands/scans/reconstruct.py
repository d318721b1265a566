"""``infomri reconstruct``: images with their uncertainty, from k-space under an arm's mask."""

from pathlib import Path
from typing import Annotated

import typer

from fl_server.commands import trained_options as given
from fl_server.commands.scans.opening import opened


def reconstruct(
    inputs: given.Inputs,
    model: given.Model,
    acceleration: given.Acceleration,
    out: Annotated[Path, typer.Option("--out", help="Folder for arrays and pictures.")],
    beta: given.Beta = None,
    sampler: given.SamplerName = None,
    arm: given.ArmName = None,
    arm_seed: given.ArmSeed = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of masks and noise.")] = 0,
    keep_identity: given.KeepIdentity = False,
    magnitude: given.Magnitude = False,
    kspace: given.Kspace = False,
    device: given.Device = "auto",
    store: given.Store = "",
) -> None:
    """Rebuild scans from k-space measured under an arm's mask, with the deviation of each pixel.

    Takes what `infomri diagnose` takes, and an arm that was trained to rebuild images (beta below
    zero). Writes NAME-mean.npy and NAME-deviation.npy, (n, H, W) in the scale of the input after
    its division by the 99.9th percentile, and of each slice both as .png and a picture beside the
    truth. Prints a CSV row a slice: PSNR of the reconstruction, the PSNR that the predicted
    deviation lets expect, and the number of measured points. Not for clinical use.

    Of NIfTI and DICOM volumes it also writes NAME-mean.nii.gz and NAME-deviation.nii.gz on the
    input's own grid, and of DICOM both as derived secondary captures in NAME-dicom, which name no
    patient unless --keep-identity says so.

    Example: `infomri reconstruct --model runs/brain --sampler infomri --acceleration 8 --out
    images brain.npy`
    """
    from fl_server.inference.reconstruction_export import export, names_of, to_csv
    from infomri_core.inference.inference import ArmQuery
    from infomri_core.inference.reconstruct import check_rebuilds
    from infomri_core.system.files import check_output
    from infomri_core.system.progress import on_stderr

    check_output(out)
    query = ArmQuery(arm, beta, sampler, arm_seed)
    given_to = (inputs, model, store, query, acceleration, device)
    trained, scans = opened(*given_to, magnitude=magnitude, kspace=kspace)
    check_rebuilds(trained.model)
    rows, n_slices = [], sum(len(scan.source) for scan in scans)
    with on_stderr().phase("rebuilding", unit="slices", total=n_slices) as step:
        for scan, name in zip(scans, names_of(inputs)):
            given_as = (acceleration, seed, out, step, keep_identity)
            rows += export(trained, scan, name, *given_as)
    typer.echo(to_csv(rows), nl=False)
    typer.echo(f"{n_slices} slices in {out}", err=True)
