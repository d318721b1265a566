"""``infomri data`` and ``infomri-client data``: from a hospital's files to a checked study."""

from pathlib import Path
from typing import Annotated

import typer

from infomri_core.commands.data_import import check_folder, import_app, secret_file
from infomri_core.system.progress import on_stderr

data_app = typer.Typer(
    no_args_is_help=True, help="Make, check and split the file a study is trained on."
)
data_app.add_typer(import_app, name="import")

Archive = Annotated[Path, typer.Argument(help="A slice archive, such as study.h5.")]
DEFECTS = 1


@data_app.command()
def series(
    folder: Annotated[Path, typer.Argument(help="A folder of DICOM files.")],
    modality: Annotated[str, typer.Option(help="Which modality to list.")] = "MR",
) -> None:
    """List the DICOM series below a folder by name, plane and shape, to choose from.

    The names are the hospital's own: look at them here, and keep them here.

    Example: `infomri data series /export`
    """
    from infomri_core.data.importing.listing import list_series

    check_folder(folder)
    for line in list_series(folder, modality, on_stderr()):
        typer.echo(line)


@data_app.command()
def check(
    file: Archive,
    sheet: Annotated[
        Path | None, typer.Option(help="PNG of suspicious slices; default FILE.check.png.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Say what is in a slice archive and what is wrong with it; exit code 1 for defects.

    Counts patients and slices by label, split and hospital; histograms of grey values; slices
    that are there twice; patients in two splits; slices a person should look at, as a PNG.

    Example: `infomri data check study.h5`
    """
    from infomri_core.data.checking.check import check_archive
    from infomri_core.data.checking.sheet import write_sheet
    from infomri_core.data.checking.words import as_json_text, in_words
    from infomri_core.system.files import check_output

    picture = sheet or file.with_name(f"{file.stem}.check.png")
    check_output(picture.parent, "a folder for the contact sheet (--sheet)")
    findings = check_archive(file, on_stderr())
    path = None
    if findings.suspicious:
        path = picture
        write_sheet(path, file, findings.suspicious)
    typer.echo(as_json_text(findings, path) if as_json else in_words(findings, path), nl=False)
    if findings.defects:
        raise typer.Exit(DEFECTS)


@data_app.command()
def split(
    file: Archive,
    ratio: Annotated[
        str, typer.Option(help="Shares of train, validation and test patients.")
    ] = "80:20:0",
    seed: Annotated[int, typer.Option(help="Another seed, another split.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace a split that is there.")] = False,
) -> None:
    """Divide the patients of a slice archive into train, validation and test.

    Patients are never divided. Shares hold within each hospital and each pattern of labels as far
    as whole patients allow. The file is replaced at once, when the new one is whole.

    Example: `infomri data split study.h5 --ratio 70:15:15 --seed 1`
    """
    from infomri_core.data.checking.divide import divide_archive, parse_ratio
    from infomri_core.data.checking.words import split_in_words

    counts = divide_archive(file, parse_ratio(ratio), seed, force=force)
    typer.echo(split_in_words(counts), nl=False)


@data_app.command()
def code(
    patient: Annotated[str, typer.Argument(help="The hospital's own patient id.")],
    secret: Annotated[Path | None, typer.Option(help="The site's secret.")] = None,
) -> None:
    """Print the code under which a patient stands in this site's archives.

    Example: `infomri data code 0012345`
    """
    from infomri_core.data.importing.identity import patient_code, site_secret
    from infomri_core.system.errors import InputError

    path = secret_file(secret)
    if not path.exists():
        remedy = "name the one of the import with --secret"
        raise InputError(str(path), "the site's secret", "no such file", remedy)
    typer.echo(patient_code(site_secret(path), patient))
