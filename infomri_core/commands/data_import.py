"""``infomri data import``: one command a format, the same options, the same archive."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infomri_core.system.errors import InputError

if TYPE_CHECKING:
    from infomri_core.data.importing.choice import Choice
    from infomri_core.data.importing.run import Target

INTERRUPTED = 130
MOST_RATERS, MOST_OUTLINES = 16, 32

import_app = typer.Typer(
    no_args_is_help=True, help="Make a de-identified slice archive of files a hospital holds."
)

Source = Annotated[Path, typer.Argument(help="The folder to read, with all below it.")]
Out = Annotated[Path, typer.Option("--out", help="The archive to make, such as study.h5.")]
Labels = Annotated[
    Path | None, typer.Option("--labels", help="CSV of ids and labels; see docs/data.md.")
]
Label = Annotated[
    list[str] | None, typer.Option("--label", help="A label column; default: all but the ids.")
]
Series = Annotated[
    list[str] | None,
    typer.Option("--series", help="Take series whose name matches, such as `*t2*`; repeatable."),
]
Exclude = Annotated[
    list[str] | None, typer.Option("--exclude", help="Leave out series whose name matches.")
]
Plane = Annotated[
    str, typer.Option("--plane", help="axial, coronal, sagittal or any; default: the only one.")
]
Size = Annotated[
    str, typer.Option("--size", help="Resample to N or HxW pixels; default: as stored.")
]
Hospital = Annotated[str, typer.Option("--hospital", help="Stored as every slice's hospital.")]
Secret = Annotated[
    Path | None, typer.Option("--secret", help="Keys the patients' codes; made at first use.")
]
Patient = Annotated[
    str,
    typer.Option("--patient", help="Regular expression that finds the patient in a file's path."),
]
Masks = Annotated[
    list[str] | None,
    typer.Option(
        "--masks",
        help="A rater's outlines: a folder, or (NIfTI) a pattern such as '*_gt'; repeatable.",
    ),
]
Outline = Annotated[
    list[str] | None,
    typer.Option("--outline", help="What the masks' values 1, 2, .. outline; repeatable."),
]
Force = Annotated[bool, typer.Option("--force", help="Write over an archive that is there.")]
Json = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]


@import_app.command()
def dicom(
    folder: Source,
    out: Out,
    labels: Labels = None,
    label: Label = None,
    series: Series = None,
    exclude: Exclude = None,
    plane: Plane = "",
    size: Size = "",
    modality: Annotated[str, typer.Option(help="Which modality to take.")] = "MR",
    hospital: Hospital = "",
    secret: Secret = None,
    masks: Masks = None,
    outline: Outline = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Import DICOM series: classic and multi-frame, compressed or not.

    Patterns of --series are held against description, protocol and sequence. Localizers, phase
    images, colour, screen captures and other modalities are left out, and the report says so.

    Binary DICOM segmentations become outlines with --masks, a folder a rater, which may be the
    same folder; --outline chooses segments by their labels. Contours (RTSTRUCT) are refused.

    Example: `infomri data import dicom /export --series '*t2*' --labels labels.csv --out study.h5`
    """
    from infomri_core.data.importing.formats.dicom.scan import scan_dicom

    chosen = _choice(series, exclude, plane, modality)
    target = _target(out, secret, labels, label, size, hospital, force, masks, outline)
    check_folder(folder)
    scan = partial(scan_dicom, folder, chosen, masks=masks or (), outlines=target.outlines)
    _run("DICOM", scan, chosen, target, as_json)


@import_app.command()
def ismrmrd(
    folder: Annotated[Path, typer.Argument(help="A file, or a folder with all below it.")],
    out: Out,
    labels: Labels = None,
    label: Label = None,
    series: Series = None,
    exclude: Exclude = None,
    plane: Plane = "",
    size: Size = "",
    patient: Patient = "",
    hospital: Hospital = "",
    secret: Secret = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Import raw data in ISMRMRD's HDF5: fully sampled Cartesian scans, 2-D or 3-D.

    Noise scans, navigators and calibration are passed over, oversampling is removed, coils are
    combined by the root of the sum of squares.

    Example: `infomri data import ismrmrd /raw --labels labels.csv --out study.h5`
    """
    from infomri_core.data.importing.formats.ismrmrd.scan import scan_ismrmrd
    from infomri_core.data.importing.patients import PatientRule

    chosen, rule = _choice(series, exclude, plane), PatientRule(patient)
    target = _target(out, secret, labels, label, size, hospital, force)
    check_folder(folder, or_file=True)
    _run("ISMRMRD", lambda *to: scan_ismrmrd(folder, chosen, rule, *to), chosen, target, as_json)


@import_app.command()
def nifti(
    folder: Source,
    out: Out,
    labels: Labels = None,
    label: Label = None,
    series: Series = None,
    exclude: Exclude = None,
    plane: Plane = "",
    size: Size = "",
    patient: Patient = "",
    hospital: Hospital = "",
    secret: Secret = None,
    masks: Masks = None,
    outline: Outline = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Import NIfTI volumes (.nii, .nii.gz), sliced across --plane.

    Patients are read from the path: BIDS' sub-XX, else the first folder, else the file's name, or
    what --patient says.

    Label maps beside the images become outlines with --masks, one rater each: a folder of files
    of the same names, or a pattern in which * is the image's name. They must lie on their image's
    grid.

    Example: `infomri data import nifti /acdc --masks '*_gt' --outline RV --outline myocardium
    --outline LV --out heart.h5`
    """
    from infomri_core.data.importing.formats.nifti import scan_nifti
    from infomri_core.data.importing.formats.nifti_masks import NiftiMasks
    from infomri_core.data.importing.patients import PatientRule

    chosen, rule = _choice(series, exclude, plane), PatientRule(patient)
    target = _target(out, secret, labels, label, size, hospital, force, masks, outline)
    check_folder(folder)
    drawn = NiftiMasks(folder, tuple(masks), target.outlines) if masks else None
    scan = partial(scan_nifti, folder, chosen, rule, masks=drawn)
    _run("NIfTI", scan, chosen, target, as_json)


@import_app.command()
def images(
    folder: Source,
    out: Out,
    labels: Labels = None,
    label: Label = None,
    series: Series = None,
    exclude: Exclude = None,
    size: Size = "",
    patient: Patient = "",
    hospital: Hospital = "",
    secret: Secret = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Import folders of PNG, JPEG, TIFF or BMP pictures, a folder a volume.

    Patients are read from the path: the first folder, else the file's name, or what --patient
    says.

    Example: `infomri data import images /export --patient '^([^/_]+)' --labels l.csv --out s.h5`
    """
    from infomri_core.data.importing.formats.pictures import scan_pictures
    from infomri_core.data.importing.patients import PatientRule

    chosen, rule = _choice(series, exclude, "any"), PatientRule(patient)
    target = _target(out, secret, labels, label, size, hospital, force)
    check_folder(folder)
    _run("pictures", lambda *to: scan_pictures(folder, chosen, rule, *to), chosen, target, as_json)


def secret_file(given: Path | None) -> Path:
    """The site's secret that a command names, or the usual one."""
    from infomri_core.data.importing.identity import default_secret

    return given or default_secret()


def check_folder(folder: Path, or_file: bool = False) -> None:
    """Refuse what is not a folder (``InputError``)."""
    if not folder.is_dir() and not (or_file and folder.is_file()):
        expected = "a file or folder" if or_file else "a folder"
        got = "a file" if folder.is_file() else "nothing there"
        raise InputError(str(folder), expected, got, "check the path")


def _run(
    source: str, scan: Callable[..., Any], choice: "Choice", target: "Target", as_json: bool
) -> None:
    from infomri_core.data.importing.report import report_paths
    from infomri_core.data.importing.run import import_study
    from infomri_core.system.progress import heeding_ctrl_c, on_stderr

    try:
        with heeding_ctrl_c() as check:
            report = import_study(source, scan, choice, target, on_stderr(check))
    except KeyboardInterrupt:
        typer.echo(
            f"Interrupted: what was read is kept in {target.out}.importing; the same command "
            "continues, and deleting that folder starts from the beginning.",
            err=True,
        )
        raise typer.Exit(INTERRUPTED) from None
    typer.echo(report.json() if as_json else report.text(), nl=False)
    told, _, private = report_paths(target.out)
    typer.echo(f"{told} names no one; {private} names files: keep it here.", err=True)


def _choice(
    series: list[str] | None, exclude: list[str] | None, plane: str, modality: str = "MR"
) -> "Choice":
    from infomri_core.data.importing.choice import Choice

    choice = Choice(tuple(series or ()), tuple(exclude or ()), plane, modality)
    choice.check()
    return choice


def _target(
    out: Path,
    secret: Path | None,
    labels: Path | None,
    columns: list[str] | None,
    size: str,
    hospital: str,
    force: bool,
    masks: list[str] | None = None,
    outline: list[str] | None = None,
) -> "Target":
    from infomri_core.data.importing.run import Target

    names, key = tuple(outline or ()), secret_file(secret)
    if names and not masks:
        remedy = "say with --masks where the outlines are"
        raise InputError("--outline", "masks that it names", "no --masks", remedy)
    if len(masks or ()) > MOST_RATERS:
        got = f"{len(masks or ())}"
        raise InputError("--masks", f"at most {MOST_RATERS} raters", got, "choose among them")
    if "" in names or len(set(names)) < len(names) or len(names) > MOST_OUTLINES:
        expected = f"at most {MOST_OUTLINES} different names"
        raise InputError("--outline", expected, ", ".join(names)[:80], "correct them")
    chosen = tuple(columns or ())
    return Target(out, key, labels, chosen, _size(size), hospital, force, names)


def _size(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    parts = text.lower().split("x")
    parts = parts * 2 if len(parts) == 1 else parts
    if len(parts) != 2 or not all(p.isdecimal() and 8 <= int(p) <= 2048 for p in parts):
        raise InputError("--size", "N or HxW, 8 to 2048 pixels", f"'{text}'", "write e.g. 128")
    return (int(parts[0]), int(parts[1]))
