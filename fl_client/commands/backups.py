"""``infomri-client backup`` and ``restore``: what a hospital must not lose."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fl_client.settings import SiteSettings

Folder = Annotated[Path, typer.Argument(help="The backup's folder.")]
Config = Annotated[Path, typer.Option(help="The site's settings.")]
_SITE = Path("site.toml")


def backup(folder: Folder, config: Config = _SITE) -> None:
    """Copy ledger, site key, kept replies, optimizer state, approvals and consents.

    May be run while the vault works. The copy holds the site's secret key: keep it as private as
    the data. The data themselves are not copied.

    Example: infomri-client backup /backup/monday --config site.toml
    """
    from fl_client.settings import read_settings
    from infomri_core.machine.backup import back_up

    made = back_up(places(read_settings(config)), folder)
    typer.echo(f"{len(made.files)} files in {folder}")


def restore(folder: Folder, config: Config = _SITE) -> None:
    """Put a backup back where nothing is, with the vault stopped.

    What left after the backup is not in its ledger, so it is not in the site's budget either: the
    study centre's runs tell what it was. See docs/operations.md.

    Example: infomri-client restore /backup/monday --config site.toml
    """
    from fl_client.memory.ledger import read_ledger
    from fl_client.settings import read_settings
    from infomri_core.machine.backup import read_backup
    from infomri_core.machine.backup import restore as put_back

    settings = read_settings(config)
    n_files = put_back(read_backup(folder), places(settings))
    path = settings.vault.state / "ledger.jsonl"
    entries = read_ledger(path) if path.exists() else []
    last = entries[-1].time if entries else "never"
    typer.echo(f"{n_files} files restored; the ledger's {len(entries)} lines end {last}")
    typer.echo("if anything left since then, this ledger does not know: ask the study centre")


def places(settings: "SiteSettings") -> dict[str, Path]:
    """What is copied, in order: the ledger last, so that it knows of all that the others hold."""
    from fl_client.policy.decisions import declined_file

    state, policy = settings.vault.state, settings.policy
    found = {
        "approved": policy.approved,
        "declined.toml": declined_file(policy),
        "consent": policy.consent,
        "site.key": state / "site.key",
        "optimizer": state / "optimizer",
        "replies": state / "replies",
        "released.json": state / "released.json",
        "datasets": state / "datasets",
        "ledger.jsonl": state / "ledger.jsonl",
    }
    return {name: path for name, path in found.items() if path is not None}
