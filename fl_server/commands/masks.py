"""``infomri masks``: the sampling pattern itself."""

import json
from pathlib import Path
from typing import Annotated

import typer

from fl_server.commands import trained_options as given

masks_app = typer.Typer(no_args_is_help=True, help="Look at and export sampling masks.")


@masks_app.callback()
def masks() -> None:
    """Look at and export the sampling masks of a trained model."""


@masks_app.command()
def export(
    model: given.Model,
    acceleration: given.Acceleration,
    out: Annotated[Path, typer.Option("--out", help="Folder to write to; created if missing.")],
    beta: given.Beta = None,
    sampler: given.SamplerName = None,
    arm: given.ArmName = None,
    arm_seed: given.ArmSeed = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the masks drawn.")] = 0,
    count: Annotated[int, typer.Option("--count", min=1, max=1000, help="Masks to draw.")] = 1,
    store: given.Store = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Write an arm's probability map and masks drawn from it as .npy, .csv and .png.

    Arrays are (H, W) with the zero frequency at (H // 2, W // 2); masks hold 0 and 1. A .json
    beside them says what they are and how many points each mask samples.

    Example: `infomri masks export --model runs/knee --beta 3e-5 --acceleration 32 --out masks`
    """
    from fl_server.inference import mask_export
    from fl_server.inference.trained_arm import open_arm
    from fl_server.tracking.store import local_model
    from infomri_core.inference.inference import ArmQuery
    from infomri_core.system.files import check_output
    from infomri_core.system.progress import on_stderr

    check_output(out)
    trained = open_arm(local_model(model, store), ArmQuery(arm, beta, sampler, arm_seed))
    paths = mask_export.export(trained, acceleration, count, seed, out, on_stderr())
    if trained.caution:
        typer.echo(trained.caution, err=True)
    if as_json:
        described = next(path for path in paths if path.suffix == ".json")
        found = json.loads(described.read_text(encoding="utf-8"))
        typer.echo(json.dumps(found | {"files": [str(path) for path in paths]}, indent=2))
        return
    for path in paths:
        typer.echo(str(path))
