"""``infomri prom``: the best single mask of a data set under an exact budget."""

from pathlib import Path
from typing import Annotated

import typer


def prom(
    data: Annotated[
        str, typer.Option("--data", help="Data URI, or one .npy or .png file of images.")
    ],
    acceleration: Annotated[
        float, typer.Option("--acceleration", help="1 / sampling ratio, such as 16.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder to write to; created if missing.")],
    constraint: Annotated[
        str, typer.Option("--constraint", help="2d: points of k-space; 1d: whole columns.")
    ] = "2d",
    runs: Annotated[int, typer.Option("--runs", min=1, help="Independent runs, averaged.")] = 1,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the first run.")] = 0,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Optimizer steps.")] = None,
    published: Annotated[
        bool,
        typer.Option("--published", help="The paper's schedule and plain Adam: slower, worse."),
    ] = False,
    slices: Annotated[
        int, typer.Option("--slices", min=1, help="At most this many slices of a data set.")
    ] = 2000,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Find the sampling mask of least mean squared error of the zero-filled image (ProM).

    Writes mask.npy and mask.png, the probabilities behind it, and prom.json with its PSNR, SSIM
    and NMSE on patients that it was not fitted on, beside masks that follow from the mean energy
    of k-space without any optimisation.

    Example: `infomri prom --data phantom: --acceleration 16 --out masks/phantom-16x`
    """
    from dataclasses import asdict, replace

    from infomri_core.prom.inputs import open_images
    from infomri_core.prom.options import ProMOptions
    from infomri_core.prom.run import compare_mask, find_mask, write_mask
    from infomri_core.system.device import pick_device
    from infomri_core.system.files import check_output
    from infomri_core.system.progress import on_stderr

    make = ProMOptions.published if published else ProMOptions
    options = make(acceleration, constraint)  # type: ignore[arg-type]
    if steps is not None:
        options = replace(options, steps=steps)
    check_output(out)
    images = open_images(data, slices, seed)
    seeds = list(range(seed, seed + runs))
    solution = find_mask(images, options, seeds, pick_device(device), on_stderr())
    compared = compare_mask(images, solution)
    where = "on patients not fitted on" if images.held_out else "on the images fitted on"
    described = {
        "data": data,
        "options": asdict(options),
        "seeds": seeds,
        "points": int(solution.mask.sum()),
        "scored": where,
        "figures": compared,
    }
    written = write_mask(out, solution, described)
    typer.echo(f"{'mask':40} {'PSNR dB':>8} {'SSIM':>6} {'NMSE':>7}   {where}")
    for name, row in compared.items():
        typer.echo(f"{name:40} {row['psnr']:8.2f} {row['ssim']:6.3f} {row['nmse']:7.4f}")
    for path in written:
        typer.echo(str(path))
