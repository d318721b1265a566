"""``infomri-client ledger``: what has left this site, and at what cost, for its officers."""

import getpass
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infomri_core.system.errors import InputError

if TYPE_CHECKING:
    from fl_client.memory.ledger import Entry

app = typer.Typer(help="What has left this site.", no_args_is_help=True)

Config = Annotated[Path, typer.Option(help="The site's settings.")]
DataName = Annotated[str, typer.Option("--data", help="One of [datasets]; default: [data].")]
_SITE = Path("site.toml")


@app.command()
def show(
    config: Config = _SITE,
    data: DataName = "",
    last: Annotated[int, typer.Option(help="How many lines, newest last.")] = 20,
    number: Annotated[
        int | None,
        typer.Option("--entry", metavar="N", help="One line: what was in this reply, by field."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print all that those lines record as JSON.")
    ] = False,
) -> None:
    """Print the last departures and charges, one a line with its number; of one of them, with
    `--entry`, what was in the reply, field by field, by size and meaning. For CSV there is
    `ledger export`.

    Example: infomri-client ledger show --entry 12 --config site.toml
    """
    from fl_client.commands.ledger_entry import contents

    entries = _entries(config, data)
    if number is not None:
        if not 1 <= number <= len(entries):
            got = f"{number}; the ledger has {len(entries)} lines"
            raise InputError("--entry", "the number of a line", got, "see `ledger show`")
        for line in contents(entries[number - 1], _state(config, data) / "replies"):
            typer.echo(line)
        return
    first = max(len(entries) - max(last, 1), 0)
    if as_json:
        typer.echo(json.dumps([asdict(entry) for entry in entries[first:]], indent=2))
        return
    for at, entry in enumerate(entries[first:], first + 1):
        typer.echo(f"{at:>4}  {in_words(entry)}")


@app.command()
def verify(
    config: Config = _SITE,
    data: DataName = "",
    copy: Annotated[
        Path | None, typer.Option(help="An older copy of ledger.jsonl kept elsewhere.")
    ] = None,
) -> None:
    """Check the whole chain; with a copy, that nothing which the copy knows is missing."""
    from fl_client.memory.chain.lines import RECOVERED
    from fl_client.memory.chain.recovery import check_signature
    from fl_client.memory.ledger import read_ledger

    entries = _entries(config, data)
    for entry in entries:
        if entry.kind == RECOVERED:
            check_signature(entry)
    if copy is not None:
        known, here = read_ledger(copy), {e.was or e.hash for e in entries}
        same = [e.hash for e in entries[: len(known)]] == [e.hash for e in known]
        if not same and not here.issuperset(e.was or e.hash for e in known):
            remedy = "keep both files: an older ledger was put back"
            raise InputError(str(copy), "the beginning of this ledger", "something else", remedy)
    head = entries[-1].hash[:16] if entries else "none"
    typer.echo(f"{len(entries)} lines, chain unbroken, last hash {head}")


@app.command("recover")
def recover_ledger(
    why: Annotated[str, typer.Option(help="What happened; kept for later readers.")],
    config: Config = _SITE,
    data: DataName = "",
    copy: Annotated[
        list[Path] | None,
        typer.Option(help="An older copy of ledger.jsonl; give every copy there is."),
    ] = None,
    by: Annotated[str, typer.Option(help="Who decides; by default this computer's user.")] = "",
) -> None:
    """Close a broken chain with a signed line and continue after it, with infomri-client stopped.

    What was charged stays charged. A changed byte is found again where the line's hash proves it;
    lost lines are taken from copies. For what is lost for good the site pays: each line counts as
    the dearest that it can have been, the studies that it knew are closed, and no k-space is
    released any more.

    Example: infomri-client ledger recover --why "disk error" --copy /backup/ledger.jsonl
    """
    from fl_client.gate.lost_lines import charges
    from fl_client.jobs.registry import plan_figures
    from fl_client.memory.chain.recovery import recover
    from fl_client.memory.ledger import read_ledger
    from fl_client.policy.seen_plans import SeenPlans
    from fl_client.settings import read_settings
    from infomri_core.secagg.trust import read_key

    whole = read_settings(config)
    settings, plans = whole.exposing(data), SeenPlans.of(whole).plans().values()
    done = recover(
        settings.vault.state / "ledger.jsonl",
        read_key(whole.secure.key),
        why=why,
        by=" ".join((by or getpass.getuser()).split()),
        studies=[plan.study.name for plan in plans],
        copies=[entry for path in copy or [] for entry in read_ledger(path)],
        counted=lambda entries, lost: charges(entries, lost, plans, settings.policy, plan_figures),
    )
    found = done.found
    typer.echo(f"{found.restored} lines restored from their hash, {found.copied} from copies")
    typer.echo(f"the broken ledger is kept as {done.kept}")
    if not found.lost:
        typer.echo("no line is lost: every charge stands as it was")
        return
    closed = ", ".join(done.line.recovered["closed"]) or "none"
    typer.echo(f"{found.lost} lines are lost; each counts as the most it can have cost")
    typer.echo(f"studies that are closed here: {closed}; no k-space is released any more")


@app.command()
def export(
    out: Annotated[Path | None, typer.Argument(help="A CSV file; by default the screen.")] = None,
    config: Config = _SITE,
    data: DataName = "",
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write all departures and charges as CSV.

    Example: infomri-client ledger export ledger.csv --config site.toml
    """
    from fl_client.memory.ledger import export_csv
    from infomri_core.system.files import check_output

    if out is not None:
        check_output(out.parent, "a folder for the CSV file")
    entries = _entries(config, data)
    if out is None:
        export_csv(entries, sys.stdout)
        return
    if out.exists() and not force:
        remedy = "choose another name, or replace it with --force"
        raise InputError(str(out), "a new file", "one that is there", remedy)
    with out.open("w", encoding="utf-8", newline="") as stream:
        export_csv(entries, stream)
    typer.echo(f"{len(entries)} lines in {out}")


def in_words(entry: "Entry") -> str:
    """One departure, or one charge, in one line."""
    from fl_client.memory.chain.lines import CHARGE, RECOVERED
    from infomri_core.system.words import counted

    when = f"{entry.time}  plan {entry.run[:12] or '-'}  {entry.job} round {entry.round}"
    if entry.kind == RECOVERED:
        said = entry.recovered
        counts = ", ".join(f"{said[what]} {what}" for what in ("restored", "copied", "lost"))
        return f"{entry.time}  chain {entry.note}; lines: {counts}; kept as {said['file']}"
    if entry.kind == CHARGE:
        inputs, figures = entry.charge["inputs"], entry.charge["figures"]
        cost = f"{counted(inputs, 'input')}, {counted(figures, 'figure')}"
        rate = entry.privacy.get("rate")
        if rate is not None:
            cost += f", {counted(entry.privacy['steps'], 'private step')} at rate {rate:.3g}"
        return f"{when}: charged {cost}"
    again = " (again)" if entry.repetition else ""
    patients = entry.released.get("patients", {})
    whose = f", k-space of {counted(len(patients), 'patient')}" if patients else ""
    note = f", {entry.note}" if entry.note else ""
    return f"{when}: {entry.kind}{again}, {entry.n_bytes} bytes{whose}{note}"


def _entries(config: Path, data: str) -> "list[Entry]":
    from fl_client.memory.ledger import read_ledger

    return read_ledger(_state(config, data) / "ledger.jsonl")


def _state(config: Path, data: str) -> Path:
    from fl_client.settings import read_settings

    return read_settings(config).exposing(data).vault.state
