"""``infomri-client keys``: keys made at the site, and whether a kit is as it was signed."""

import os
from pathlib import Path
from typing import Annotated

import typer

from infomri_core.system.errors import InputError
from infomri_core.system.names import SITE_NAME, is_site_name

app = typer.Typer(help="This site's keys and its startup kit.", no_args_is_help=True)


@app.command()
def request(
    name: Annotated[str, typer.Argument(help="The site's name in the federation.")],
    out: Annotated[Path, typer.Option(help="A folder for keys and request.")] = Path(),
) -> None:
    """Make this site's keys and the request that goes to the study centre; the keys stay.

    Example: infomri-client keys request west --out infomri-west
    """
    from infomri_core.kits.key_request import parse_request, private_key, public_line, request_of
    from infomri_core.system.files import check_output

    if not is_site_name(name):
        got = f"{name[:80]!r}, {len(name)} characters"
        raise InputError("NAME", f"a name of {SITE_NAME}", got, "choose another")
    check_output(out, "a folder for keys and request")
    out.mkdir(parents=True, exist_ok=True, mode=0o700)
    place = out / f"{name}.request.json"
    (node, node_file), (vault, vault_file) = private_key(), private_key()
    made = request_of(name, node, vault)
    fingerprints = parse_request(made, "NAME").fingerprints
    for file, data in (("node.key", node_file), ("vault.key", vault_file)):
        _write_private(out / file, data)
    for file, key in (("node.pub", node), ("vault.pub", vault)):
        (out / file).write_text(f"{public_line(key.public_key())} {name}\n", encoding="ascii")
    place.write_bytes(made)
    typer.echo(f"send {place} to the study centre; node.key and vault.key stay here")
    for key_name, found in fingerprints.items():
        typer.echo(f"{key_name} key {found}: compare it with the study centre by telephone")


@app.command()
def verify(
    config: Annotated[Path, typer.Option(help="The site's settings.")] = Path("site.toml"),
) -> None:
    """Check that every file of the kit, site.toml included, is as the study centre signed it.

    Example: infomri-client keys verify --config infomri-west/site.toml
    """
    from fl_client.settings import read_settings
    from fl_client.supervision.kit_check import check_files

    settings = read_settings(config)
    n_files = check_files(config, settings, settings_too=True)
    if not n_files:
        remedy = "a kit of `infomri provision` names it"
        raise InputError(f"{config}: [kit] authority", "the sha256 of ca.crt", "none", remedy)
    typer.echo(f"{n_files} files are as the study centre signed them")
    typer.echo(f"sha256 of ca.crt, to compare by telephone: {settings.kit.authority}")


def _write_private(path: Path, data: bytes) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        remedy = "keep it, or name another folder with --out"
        raise InputError(str(path), "no key yet", "one", remedy) from None
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
