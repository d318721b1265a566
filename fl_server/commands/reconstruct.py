"""``infomri reconstruct``: images with their uncertainty, from k-space under an arm's mask."""

from pathlib import Path
from typing import Annotated

import typer


def reconstruct(
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
    out: Annotated[Path, typer.Option("--out", help="Folder for arrays and pictures.")],
    beta: Annotated[float | None, typer.Option("--beta", help="The arm's beta: -inf.")] = None,
    sampler: Annotated[str | None, typer.Option("--sampler", help="infomri, uniform, ..")] = None,
    arm: Annotated[
        str | None, typer.Option("--arm", help="The arm, by either of its names.")
    ] = None,
    arm_seed: Annotated[int | None, typer.Option("--arm-seed", help="The arm's seed.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of masks and noise.")] = 0,
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
    """Rebuild scans from k-space measured under an arm's mask, with the deviation of each pixel.

    Takes what `infomri diagnose` takes, and an arm that was trained to rebuild images (beta below
    zero). Writes NAME-mean.npy and NAME-deviation.npy, (n, H, W) in the scale of the input after
    its division by the 99.9th percentile, and of each slice both as .png and a picture beside the
    truth. Prints a CSV row a slice: PSNR of the reconstruction, the PSNR that the predicted
    deviation lets expect, and the number of measured points. Not for clinical use.

    Example: `infomri reconstruct --model runs/brain --sampler infomri --acceleration 8 --out
    images brain.npy`
    """
    from fl_server.inference.reconstruction_export import export, names_of, to_csv
    from fl_server.inference.trained_arm import open_arm
    from fl_server.tracking.store import local_model
    from infomri_core.inference.inference import ArmQuery, sampling_ratio
    from infomri_core.inference.reconstruct import check_rebuilds
    from infomri_core.inference.scans import open_scan
    from infomri_core.system.files import check_output
    from infomri_core.system.progress import on_stderr

    check_output(out)
    trained = open_arm(local_model(model, store), ArmQuery(arm, beta, sampler, arm_seed), device)
    sampling_ratio(trained.plan, acceleration)
    check_rebuilds(trained.model)
    scans = [open_scan(text, trained.plan.task.shape, magnitude, kspace) for text in inputs]
    notes = [trained.caution, *(f"{scan.name}: {scan.note}" for scan in scans)]
    typer.echo("\n".join(note for note in notes if note), err=True)
    rows, n_slices = [], sum(len(scan.source) for scan in scans)
    with on_stderr().phase("rebuilding", unit="slices", total=n_slices) as step:
        for scan, name in zip(scans, names_of(inputs)):
            rows += export(trained, scan, name, acceleration, seed, out, step)
    typer.echo(to_csv(rows), nl=False)
    typer.echo(f"{n_slices} slices in {out}", err=True)
