"""``infomri doctor``: what is wrong with this machine, and what to do about it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from fl_server.health.finding import Finding, Level, run_checks
from infomri_core.system.screen_table import Column, ScreenTable
from infomri_core.system.words import counted

STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "bold red"}


def doctor(
    config: Annotated[
        Path | None, typer.Option("--config", help="A hospital's site.toml to check.")
    ] = None,
    centre: Annotated[
        Path | None, typer.Option("--centre", help="A study centre's centre.toml to check.")
    ] = None,
    superlink: Annotated[
        str | None, typer.Option("--superlink", metavar="HOST:PORT", help="Is it there?")
    ] = None,
    root_certificate: Annotated[
        Path | None, typer.Option("--root-certificate", help="The study centre's ca.crt.")
    ] = None,
    data: Annotated[str | None, typer.Option("--data", help="A data URI to open.")] = None,
    federation: Annotated[
        Path | None, typer.Option("--federation", help="A folder that `infomri provision` made.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the table as CSV.")] = False,
) -> None:
    """Check this machine and say what to fix; exit code 1 if something will fail.

    Looks at Python, packages, torch, threads, disk and ports; with settings also at certificates,
    keys, the SuperLink, the data and the tracking store. Prints counts, never a patient.

    Example: `infomri doctor --config site.toml`
    """
    from fl_server.health.places import DoctorRequest, checks
    from infomri_core.system.progress import on_stderr

    asked = DoctorRequest(config, centre, superlink, root_certificate, data, federation)
    wanted, findings = checks(asked), list[Finding]()
    with on_stderr().phase("checking", unit="checks", total=len(wanted)) as step:
        for check in wanted:
            findings += run_checks([check])
            step()
    if as_json:
        typer.echo(report(findings))
    elif as_csv:
        typer.echo(table(findings).csv(), nl=False)
    else:
        table(findings).print(Console())
    if any(finding.level is Level.PROBLEM for finding in findings):
        raise typer.Exit(1)


def report(findings: Sequence[Finding]) -> str:
    """The findings as JSON: ``{"ok": .., "findings": [{check, level, found, remedy}]}``."""
    healthy = all(finding.level is not Level.PROBLEM for finding in findings)
    rows = [
        {"check": f.check, "level": f.level.value, "found": f.found, "remedy": f.remedy}
        for f in findings
    ]
    return json.dumps({"ok": healthy, "findings": rows}, indent=2)


def table(findings: Sequence[Finding]) -> ScreenTable:
    """The findings as a table, worst named in its caption."""
    columns = [Column("check"), Column("level"), Column("found", prose=True)]
    rows = [(f.check, Text(f.level.value, STYLES[f.level]), f.found, f.remedy) for f in findings]
    prose = Column("what to do", prose=True)
    return ScreenTable([*columns, prose], rows, caption=_summary(findings))


def _summary(findings: Sequence[Finding]) -> str:
    counts = {level: sum(f.level is level for f in findings) for level in Level}
    errors, warnings = counts[Level.PROBLEM], counts[Level.WARNING]
    if not errors and not warnings:
        return "all checks passed"
    return f"{counted(errors, 'error')}, {counted(warnings, 'warning')}"
