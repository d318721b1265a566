"""``infomri segment``: samples of raters' outlines, from k-space under the learned mask."""

from pathlib import Path
from typing import Annotated

import typer

from fl_server.commands import trained_options as given
from fl_server.commands.scans.opening import opened


def segment(
    inputs: given.Inputs,
    model: given.Model,
    acceleration: given.Acceleration,
    out: Annotated[Path, typer.Option("--out", help="Folder to write to.")] = Path("segments"),
    samples: Annotated[int, typer.Option("--samples", help="Outlines drawn of each slice.")] = 32,
    arm: given.ArmName = None,
    beta: given.Beta = None,
    sampler: given.SamplerName = None,
    arm_seed: given.ArmSeed = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of mask, noise and samples.")] = 0,
    nifti: Annotated[
        bool, typer.Option("--nifti", help="Write .nii.gz of arrays, too (extra 'import').")
    ] = False,
    keep_identity: given.KeepIdentity = False,
    magnitude: given.Magnitude = False,
    kspace: given.Kspace = False,
    device: given.Device = "auto",
    store: given.Store = "",
) -> None:
    """Outline scans from k-space that is measured under an arm's mask (InfoMRI, Algorithm 3).

    Each slice is measured once, and outlined --samples times: label maps (slices, samples, H, W)
    with 0 for the background, the mean probability of each outline (slices, outlines, H, W), and
    its entropy (slices, H, W), as .npy files, and a picture a slice.

    Of NIfTI and DICOM volumes it also writes the likeliest label map, probability and entropy as
    .nii.gz on the input's own grid, and of DICOM a segmentation object that refers to the series.
    That names no patient unless --keep-identity says so, but whoever has the hospital's archive
    finds the patient by the images it refers to.

    Example: `infomri segment --model runs/heart --acceleration 8 scan.npy`
    """
    from fl_server.inference.outline_files import write
    from fl_server.inference.outlining import outline_scan
    from infomri_core.inference.inference import ArmQuery
    from infomri_core.system.files import check_output
    from infomri_core.system.progress import on_stderr

    check_output(out)
    query = ArmQuery(arm, beta, sampler, arm_seed)
    given_to = (inputs, model, store, query, acceleration, device)
    trained, scans = opened(*given_to, magnitude=magnitude, kspace=kspace)
    with on_stderr().phase("outlining", unit="scans", total=len(scans)) as step:
        for number, scan in enumerate(scans):
            found = outline_scan(trained, scan, acceleration, seed, samples)
            stem = f"scan-{number:02d}-{acceleration:g}x"
            names = trained.plan.task.outline_names
            origin = (scan.origin, keep_identity)
            written = write(out, stem, found, names, nifti, *origin)
            step()
            typer.echo(f"{scan.name}: {len(found.samples)} slices, {samples} samples each")
            typer.echo("\n".join(f"  {path}" for path in written))
