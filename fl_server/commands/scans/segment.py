"""``infomri segment``: samples of raters' outlines, from k-space under the learned mask."""

from pathlib import Path
from typing import Annotated

import typer


def segment(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Images (.npy, .png), centred complex k-space (.npy), or data URIs.",
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            "--model",
            help="A run's folder, a checkpoint file, or a registered model: models:/NAME@approved",
        ),
    ],
    acceleration: Annotated[
        float, typer.Option("--acceleration", help="1 / sampling ratio, such as 8.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder to write to.")] = Path("segments"),
    samples: Annotated[int, typer.Option("--samples", help="Outlines drawn of each slice.")] = 32,
    arm: Annotated[
        str | None, typer.Option("--arm", help="The arm, by either of its names.")
    ] = None,
    beta: Annotated[float | None, typer.Option("--beta", help="The arm's beta.")] = None,
    sampler: Annotated[str | None, typer.Option("--sampler", help="infomri, uniform, ..")] = None,
    arm_seed: Annotated[int | None, typer.Option("--arm-seed", help="The arm's seed.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of mask, noise and samples.")] = 0,
    nifti: Annotated[
        bool, typer.Option("--nifti", help="Write .nii.gz, too (needs the extra 'import').")
    ] = False,
    magnitude: Annotated[
        bool, typer.Option("--magnitude", help="Turn k-space into its magnitude image first.")
    ] = False,
    kspace: Annotated[
        bool, typer.Option("--kspace", help="Complex .npy files are centred k-space.")
    ] = False,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    store: Annotated[
        str,
        typer.Option(
            "--store",
            envvar="MLFLOW_TRACKING_URI",
            help="For a registered model: MLflow's URI, or a folder with mlflow.db.",
        ),
    ] = "",
) -> None:
    """Outline scans from k-space that is measured under an arm's mask (InfoMRI, Algorithm 3).

    Each slice is measured once, and outlined --samples times: label maps (slices, samples, H, W)
    with 0 for the background, the mean probability of each outline (slices, outlines, H, W), and
    its entropy (slices, H, W), as .npy files, and a picture a slice.

    Example: `infomri segment --model runs/heart --acceleration 8 scan.npy`
    """
    from fl_server.inference.outline_files import write
    from fl_server.inference.outlining import outline_scan
    from fl_server.inference.trained_arm import open_arm
    from fl_server.tracking.store import local_model
    from infomri_core.inference.inference import ArmQuery
    from infomri_core.inference.scans import open_scan
    from infomri_core.system.files import check_output
    from infomri_core.system.progress import on_stderr

    check_output(out)
    trained = open_arm(local_model(model, store), ArmQuery(arm, beta, sampler, arm_seed), device)
    if trained.caution:
        typer.echo(trained.caution, err=True)
    scans = [open_scan(text, trained.plan.task.shape, magnitude, kspace) for text in inputs]
    with on_stderr().phase("outlining", unit="scans", total=len(scans)) as step:
        for number, scan in enumerate(scans):
            found = outline_scan(trained, scan, acceleration, seed, samples)
            stem = f"scan-{number:02d}-{acceleration:g}x"
            names = trained.plan.task.outline_names
            written = write(out, stem, found, names, nifti)
            step()
            typer.echo(f"{scan.name}: {len(found.samples)} slices, {samples} samples each")
            typer.echo("\n".join(f"  {path}" for path in written))
