"""``infomri provision``: certificates and startup kits for a federation."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infomri_core.system.errors import InputError

if TYPE_CHECKING:
    from fl_server.operations.federation_folder import FederationFolder

HTTPS = 443
_ROOM = 1 << 20

provision_app = typer.Typer(invoke_without_command=True)
Out = Annotated[Path, typer.Option("--out", help="The federation's folder.")]
_FOLDER = Path("federation")


@provision_app.callback()
def provision(
    context: typer.Context,
    server: Annotated[
        str, typer.Option("--server", help="Name or address sites dial; several with commas.")
    ] = "",
    sites: Annotated[str, typer.Option("--sites", help="Names of the sites, with commas.")] = "",
    out: Out = _FOLDER,
    port: Annotated[
        int, typer.Option("--port", min=1, max=65535, help="Port sites dial.")
    ] = HTTPS,
    add_site: Annotated[
        list[str] | None, typer.Option("--add-site", help="One more site; may be repeated.")
    ] = None,
    revoke_site: Annotated[
        list[str] | None, typer.Option("--revoke-site", help="Shut a site out; may be repeated.")
    ] = None,
    revoke_operator: Annotated[
        list[str] | None,
        typer.Option("--revoke-operator", help="Shut an operator out; may be repeated."),
    ] = None,
    register: Annotated[
        str,
        typer.Option(
            "--register", help="Register with this SuperLink: HOST:PORT, or a connection's name."
        ),
    ] = "",
) -> None:
    """Make what a federation needs before it starts; safe to run again.

    Writes an authority, a server certificate and one startup kit (zip) a site. What is there is
    kept, but for a server certificate that ends within 30 days or lacks a name.

    Example: `infomri provision --server centre.example.org --sites north,south`
    """
    from fl_server.operations.federation_folder import FederationFolder

    if context.invoked_subcommand is not None:
        return
    folder = FederationFolder(out)
    hosts, names = _names(server), [*_names(sites), *(add_site or [])]
    if not (hosts or names or revoke_site or register or revoke_operator):
        raise InputError("infomri provision", "--server HOST --sites a,b", "neither", "give both")
    with _writing(out):
        for name in revoke_operator or []:
            folder.revoke_operator(name)
            crl = out / "ca" / "ca.crl"
            typer.echo(f"operator {name} revoked: start the proxy again with {crl}")
        for name in revoke_site or []:
            typer.echo(f"site {name} revoked: {folder.revoke_site(name)}")
        if hosts:
            out.mkdir(parents=True, exist_ok=True, mode=0o700)
            made = folder.ensure_server(hosts)
            folder.open_door(hosts, port)
            typer.echo(f"server certificate for {', '.join(hosts)}: {'made' if made else 'kept'}")
        for name in names:
            made = folder.add_site(name)
            place = out / "kits" / f"{name}.zip"
            typer.echo(f"site {name}: {f'kit in {place}' if made else 'there already, kept'}")
        _introduce(folder)
    _tell_superlink(folder, register)


@provision_app.command()
def sign(
    request: Annotated[Path, typer.Argument(help="What `infomri-client keys request` wrote.")],
    out: Out = _FOLDER,
) -> None:
    """Make the kit of a site that made its own keys: signed, and without any private key.

    Compare the fingerprints with the site by telephone before you send it.

    Example: `infomri provision sign west.request.json --out federation`
    """
    from fl_server.operations.federation_folder import FederationFolder
    from infomri_core.kits.key_request import parse_request
    from infomri_core.kits.signing import certificate_fingerprint

    folder = FederationFolder(out)
    try:
        asked = parse_request(request.read_bytes(), str(request))
    except OSError as error:
        got = error.strerror or "an error"
        raise InputError(str(request), "a request", got, "check the path") from None
    with _writing(out):
        made = folder.admit_site(asked)
        authority = certificate_fingerprint(folder.authority.certificate.read_bytes())
    place = out / "kits" / f"{asked.site}.zip"
    typer.echo(f"site {asked.site}: {f'kit in {place}' if made else 'there already, kept'}")
    for name, found in asked.fingerprints.items():
        typer.echo(f"{name} key {found}: compare it with the site by telephone")
    typer.echo(f"tell them the sha256 of ca.crt: {authority}")
    with _writing(out):
        _introduce(folder)
    _tell_superlink(folder, "")


@provision_app.command()
def operator(
    name: Annotated[str, typer.Argument(help="Who may submit, follow and stop studies.")],
    out: Out = _FOLDER,
) -> None:
    """Make an operator's kit: a client certificate of the study's authority, and its key.

    Example: `infomri provision operator ada --out federation`
    """
    from fl_server.operations.federation_folder import FederationFolder

    with _writing(out):
        made = FederationFolder(out).add_operator(name)
    place = out / "kits" / f"operator-{name}.zip"
    typer.echo(f"operator {name}: {f'kit in {place}' if made else 'there already, kept'}")


@contextlib.contextmanager
def _writing(out: Path) -> Iterator[None]:
    """The folder is tried before anything is made; what a full disk cuts short can be repeated."""
    from infomri_core.system.files import check_output, disk_errors_explained

    check_output(out, "the federation's folder (--out)", _ROOM)
    kept = "make room; what was made is kept, and the same command makes the rest"
    with disk_errors_explained(out, kept):
        yield


def _introduce(folder: "FederationFolder") -> None:
    outdated = folder.introduce_sites()
    if outdated:
        files = f"{folder.path / 'sites.toml'} and sites.toml.sig"
        typer.echo(f"give {files} to {', '.join(outdated)}: they replace theirs")


def _tell_superlink(folder: "FederationFolder", superlink: str) -> None:
    from fl_server.operations.node_registration import connect, register_nodes
    from infomri_core.machine.hints import shell_command

    if not superlink:
        command = shell_command("infomri", "provision", "--out", folder.path)
        typer.echo(f"next, at the SuperLink: {command} --register HOST:PORT")
        return
    with connect(superlink, folder) as control:
        change = register_nodes(control, folder)
    typer.echo(f"registered: {', '.join(change.registered) or 'nothing new'}")
    typer.echo(f"unregistered: {', '.join(change.unregistered) or 'nothing new'}")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
