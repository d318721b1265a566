"""``infomri provision``: certificates and startup kits for a federation."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infomri_core.errors import InputError

if TYPE_CHECKING:
    from fl_server.kits import FederationFolder

HTTPS = 443


def provision(
    server: Annotated[
        str, typer.Option("--server", help="Name or address sites dial; several with commas.")
    ] = "",
    sites: Annotated[str, typer.Option("--sites", help="Names of the sites, with commas.")] = "",
    out: Annotated[Path, typer.Option("--out", help="The federation's folder.")] = Path(
        "federation"
    ),
    port: Annotated[
        int, typer.Option("--port", min=1, max=65535, help="Port sites dial.")
    ] = HTTPS,
    add_site: Annotated[
        list[str] | None, typer.Option("--add-site", help="One more site; may be repeated.")
    ] = None,
    revoke_site: Annotated[
        list[str] | None, typer.Option("--revoke-site", help="Shut a site out; may be repeated.")
    ] = None,
    register: Annotated[
        str,
        typer.Option("--register", help="Tell this SuperLink: HOST:PORT, or a connection's name."),
    ] = "",
) -> None:
    """Make what a federation needs before it starts; safe to run again.

    Writes an authority, a server certificate and one startup kit (zip) a site. What is there is
    kept, but for a server certificate that ends within 30 days or lacks a name.

    Example: `infomri provision --server centre.example.org --sites north,south`
    """
    from fl_server.kits import FederationFolder

    folder = FederationFolder(out)
    hosts, names = _names(server), [*_names(sites), *(add_site or [])]
    if not (hosts or names or revoke_site or register):
        raise InputError("infomri provision", "--server HOST --sites a,b", "neither", "give both")
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
    outdated = folder.introduce_sites()
    if outdated:
        typer.echo(f"give {out / 'sites.toml'} to {', '.join(outdated)}: it replaces theirs")
    _tell_superlink(folder, register)


def _tell_superlink(folder: "FederationFolder", superlink: str) -> None:
    from fl_server.admission import admit, connect
    from infomri_core.hints import shell_command

    if not superlink:
        command = shell_command("infomri", "provision", "--out", folder.path)
        typer.echo(f"next, at the SuperLink: {command} --register HOST:PORT")
        return
    with connect(superlink, folder) as control:
        change = admit(control, folder)
    typer.echo(f"registered: {', '.join(change.registered) or 'nothing new'}")
    typer.echo(f"unregistered: {', '.join(change.unregistered) or 'nothing new'}")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
