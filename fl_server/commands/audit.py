"""``infomri audit``: the audit of a stored run once more, or of masks made elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

from infomri_core.attacks.registry import ATTACKS

_ATTACKS = f"Some of {', '.join(ATTACKS)}, with commas; default: the plan's."


def audit(
    run: Annotated[
        Path | None, typer.Argument(help="A run's folder with checkpoints/, or a demo's folder.")
    ] = None,
    audit: Annotated[
        str | None, typer.Option("--audit", help="URI of the audit set; default: the run's own.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", help="URI to score on; default: audit patients held out."),
    ] = None,
    attacks: Annotated[
        str,
        typer.Option("--attacks", help=_ATTACKS),
    ] = "",
    accelerations: Annotated[
        str, typer.Option("--accelerations", help="Numbers with commas; default: the plan's.")
    ] = "",
    steps: Annotated[
        str, typer.Option("--steps", help="Training of learned attacks, such as cnn=400,unet=1500")
    ] = "",
    external: Annotated[
        Path | None,
        typer.Option("--external", help="Folder with mask.npy, kspace.npy, external.toml."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write to; default: the run's.")
    ] = None,
    centre: Annotated[
        Path | None, typer.Option("--centre", help="centre.toml; default: beside the run.")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    weights: Annotated[
        float,
        typer.Option("--weights", min=0, help="Seconds for attacks on weights; 0: none."),
    ] = 0.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, for programs; what happens, on stderr.")
    ] = False,
) -> None:
    """Audit a stored run again, without training it: other attacks, other data.

    Attacks are fitted on the audit set and scored on audit patients held out, or on --data.
    Writes results-audit.json, figures and privacy-report-audit.html, and attaches them to the
    run in MLflow where centre.toml is beside the run. A classifier of full images, trained on the
    audit set (--steps reader=150; 0 leaves it out), says whether lesions stay legible.

    --weights 300 spends up to 300 seconds on what weights and updates give away: a one-run audit
    of the plan's differential privacy, membership inference, gradient inversion, label and site
    inference, all on the audit set.

    With --external it audits masks and k-space that another system made: DIR holds mask.npy
    (H, W) or (n, H, W), kspace.npy (n, H, W) complex, centred and orthonormal, external.toml
    with noise_std, and, if known, truth.npy (n, H, W) in [0, 1].

    Example: `infomri audit runs/knee-123 --attacks lmmse,unet --steps unet=3000`
    """
    from fl_server.commands import audit_actions as actions
    from infomri_core.system.errors import InputError
    from infomri_core.system.files import check_output
    from infomri_core.system.paths import anchored_here

    if out is not None:
        check_output(out)
    audit = audit and anchored_here(audit)
    data = data and anchored_here(data)
    names = actions.names(attacks)
    if external is not None and run is None:
        actions.audit_external(
            external, audit, names, actions.steps(steps), out, device, as_json=as_json
        )
    elif run is not None and external is None:
        actions.audit_run(
            actions.AuditRequest(
                run,
                audit,
                data,
                names,
                actions.numbers(accelerations),
                actions.steps(steps),
                out,
                centre,
                device,
                weights,
            ),
            as_json=as_json,
        )
    else:
        got = "neither" if run is None else "both"
        raise InputError("infomri audit", "RUN or --external DIR", got, "give one of them")
