"""``infomri-client ledger``: what has left this site, and at what cost, for its officers."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from fl_client.gate.ledger import CHARGE, Entry, export_csv, read_ledger
from fl_client.settings import read_settings
from infomri_core.system.errors import InputError

app = typer.Typer(help="What has left this site.", no_args_is_help=True)

Config = Annotated[Path, typer.Option(help="The site's settings.")]
DataName = Annotated[str, typer.Option("--data", help="One of [datasets]; default: [data].")]
_SITE = Path("site.toml")


@app.command()
def show(
    config: Config = _SITE,
    data: DataName = "",
    last: Annotated[int, typer.Option(help="How many lines, newest last.")] = 20,
) -> None:
    """Print the last departures and charges, one a line."""
    for entry in _entries(config, data)[-max(last, 1) :]:
        typer.echo(in_words(entry))


@app.command()
def verify(
    config: Config = _SITE,
    data: DataName = "",
    copy: Annotated[
        Path | None, typer.Option(help="An older copy of ledger.jsonl kept elsewhere.")
    ] = None,
) -> None:
    """Check the whole chain; with a copy, that nothing which the copy knows is missing."""
    entries = _entries(config, data)
    if copy is not None:
        known = read_ledger(copy)
        if [e.hash for e in entries[: len(known)]] != [e.hash for e in known]:
            remedy = "keep both files: an older ledger was put back"
            raise InputError(str(copy), "the beginning of this ledger", "something else", remedy)
    head = entries[-1].hash[:16] if entries else "none"
    typer.echo(f"{len(entries)} lines, chain unbroken, last hash {head}")


@app.command()
def export(
    out: Annotated[Path | None, typer.Argument(help="A CSV file; by default the screen.")] = None,
    config: Config = _SITE,
    data: DataName = "",
) -> None:
    """Write all departures and charges as CSV."""
    entries = _entries(config, data)
    if out is None:
        export_csv(entries, sys.stdout)
        return
    with out.open("w", encoding="utf-8", newline="") as stream:
        export_csv(entries, stream)
    typer.echo(f"{len(entries)} lines in {out}")


def in_words(entry: Entry) -> str:
    """One departure, or one charge, in one line."""
    when = f"{entry.time}  plan {entry.run[:12] or '-'}  {entry.job} round {entry.round}"
    if entry.kind == CHARGE:
        cost = f"{entry.charge['inputs']} input, {entry.charge['figures']} figures"
        rate = entry.privacy.get("rate")
        steps = "" if rate is None else f", {entry.privacy['steps']} private steps at {rate:.3g}"
        return f"{when}: charged {cost}{steps}"
    again = " (again)" if entry.repetition else ""
    patients = entry.released.get("patients", {})
    whose = f", k-space of {len(patients)} patients" if patients else ""
    note = f", {entry.note}" if entry.note else ""
    return f"{when}: {entry.kind}{again}, {entry.n_bytes} bytes{whose}{note}"


def _entries(config: Path, data: str) -> list[Entry]:
    return read_ledger(read_settings(config).exposing(data).vault.state / "ledger.jsonl")
