"""A whole federation on one machine: provision, start, submit, follow, report, stop."""

import os
import shutil
import time
from contextlib import ExitStack
from pathlib import Path
from subprocess import Popen

import tomli_w
from rich.console import Console

from fl_server.authority.certificates import Authority, SiteKit, SiteOptions, site_kit
from fl_server.authority.site_keys import write_site_lists
from fl_server.demo.keep import hold
from fl_server.demo.plan import DemoOptions, DemoStudy, design
from fl_server.operations.control import Control, RunState
from fl_server.operations.superlink import SuperLink, SuperLinkOptions, environment
from fl_server.run.folder import run_name
from fl_server.serverapp import run_config
from fl_server.study.failure import StudyFailed
from fl_server.terminal.follow_events import Follower
from fl_server.tracking.resend import record_end
from infomri_core.machine import processes
from infomri_core.machine.hints import shell_command
from infomri_core.machine.interrupts import Interrupts
from infomri_core.machine.ports import free_port
from infomri_core.machine.sqlite_uri import sqlite_uri
from infomri_core.plan.reading import parse_plan
from infomri_core.results.frontier import read_results
from infomri_core.results.table import print_frontier
from infomri_core.system.errors import InputError
from infomri_core.system.files import check_output, disk_errors_explained

POLL_SECONDS = 2.0
PATIENCE_SECONDS = 600.0
LOG_LINES = 15


def run_demo(data: str, out: Path, options: DemoOptions, console: Console) -> None:
    """Run the demo on ``data`` (a URI) and leave everything under ``out``.

    Raises ``InputError`` for data or a folder that will not do, ``StudyFailed`` when the study
    does not complete. Every process that was started is stopped in any case; with ``keep`` when
    somebody asks for it.
    """
    if out.exists() and any(out.iterdir()):
        raise InputError(str(out), "an empty or new folder", "files", "choose another --out")
    check_output(out)
    console.print(f"[bold]InfoMRI demo[/bold] on {data}; everything goes to {out}")
    study = design(data, options)
    plan = parse_plan(study.plan, "the demo's plan")
    if study.note:
        console.print(f"  [yellow]{study.note}[/yellow]")
    out = out.resolve()
    left = f"make room and start again with another --out; logs and whole rounds stay in {out}"
    with ExitStack() as stack:
        stack.enter_context(disk_errors_explained(out, left))
        _write_centre(out, study)
        interrupts = stack.enter_context(Interrupts())
        superlink = stack.enter_context(
            SuperLink(
                SuperLinkOptions(
                    out / "superlink", out / "centre" / "centre.toml", port=free_port()
                )
            )
        )
        console.print(f"  SuperLink on {superlink.address} (TLS, node authentication)")
        control = stack.enter_context(superlink.control())
        clients: dict[str, Popen] = {}
        stack.callback(_stop_together, clients)
        _start_sites(out, study, superlink, control, clients)
        console.print(f"  {len(clients)} sites: {', '.join(clients)}")
        run_id = control.submit(run_config(study.plan))
        interrupts.check()
        directory = out / "centre" / run_name(plan, run_id)
        try:
            with Follower(directory / "events.jsonl", console):
                _follow(control, run_id, clients, superlink, interrupts)
        except (KeyboardInterrupt, StudyFailed, InputError) as error:
            _stop_together(clients)
            superlink.stop()  # the study's process sees that its parent is gone, and ends
            ended = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
            record_end(directory, plan, ended)
            raise
        _collect(out, directory, list(study.sites))
        _report(out, console)
        if options.keep:
            hold(out, superlink, clients, interrupts, console)


def _write_centre(out: Path, study: DemoStudy) -> None:
    centre = out / "centre"
    centre.mkdir(parents=True, exist_ok=True)
    (out / "plan.toml").write_text(study.plan, encoding="utf-8")
    settings = {
        "audit": {
            "data": study.audit,
            "cnn_steps": study.cnn_steps,
            "unet_steps": study.unet_steps,
            "reader_steps": study.cnn_steps,
        },
        "central": {"data": list(study.sites.values())},
        "centre": {"directory": "."},
        "mlflow": {"tracking_uri": "sqlite:///../mlflow.db", "artifacts": "../mlartifacts"},
    }
    (centre / "centre.toml").write_text(tomli_w.dumps(settings), encoding="utf-8")


def _start_sites(
    out: Path,
    study: DemoStudy,
    superlink: SuperLink,
    control: Control,
    clients: dict[str, Popen],
) -> None:
    """Register and start one ``infomri-client`` a site, into ``clients``."""
    for kit in provide_sites(out / "sites", study, superlink.address, superlink.authority):
        control.register(kit.public_key, kit.name)
        clients[kit.name] = processes.start(
            [processes.script("infomri-client"), "--config", str(kit.settings)],
            kit.folder / "client.log",
            environment(kit.folder / "flwr"),
        )


def provide_sites(folder: Path, study: DemoStudy, address: str, ca: Authority) -> list[SiteKit]:
    """A kit a site of ``study``, in ``folder``, each with the list of all vaults' keys."""
    vault = {"threads": max(1, (os.cpu_count() or 1) // len(study.sites))}
    asking = any(arm.asks_for_images for arm in parse_plan(study.plan).arms)
    policy = {"min_cohort": study.min_cohort, "approvals": "any", "image_arms": asking}
    kits = [
        site_kit(folder / name, name, ca, SiteOptions(address, uri, vault=vault, policy=policy))
        for name, uri in study.sites.items()
    ]
    write_site_lists(kits)
    return kits


def _stop_together(clients: dict[str, Popen]) -> None:
    for client in clients.values():
        if client.poll() is None:
            client.terminate()
    for client in clients.values():
        processes.stop(client)


def _follow(
    control: Control,
    run_id: str,
    clients: dict[str, Popen],
    superlink: SuperLink,
    interrupts: Interrupts,
) -> None:
    while not (state := _asked(control, run_id, superlink)).finished:
        interrupts.check()
        for name, client in clients.items():
            if client.poll() is not None:
                log = superlink.options.folder.parent / "sites" / name / "client.log"
                raise StudyFailed(f"site {name} stopped by itself:\n{_tail(log)}")
        time.sleep(POLL_SECONDS)
    if state.outcome != "completed":
        why = state.details or state.outcome
        raise StudyFailed(f"the study ended as {state.outcome}: {why}\n{_tail(superlink.log)}")


def _asked(control: Control, run_id: str, superlink: SuperLink) -> RunState:
    """How the run stands. A busy machine may answer late: no answer is final while the SuperLink
    lives and ``PATIENCE_SECONDS`` have not passed."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return control.state(run_id)
        except InputError:
            if not superlink.alive() or time.monotonic() > until:
                raise
        time.sleep(POLL_SECONDS)


def _collect(out: Path, directory: Path, sites: list[str]) -> None:
    """Put what a reader wants first at the top of the folder."""
    pictures = ("frontier.png", "frontier.svg", "examples.png")
    for name in ("results.json", "privacy-report.html", *pictures):
        shutil.copy2(directory / name, out / name)
    (out / "ledgers").mkdir(exist_ok=True)
    for site in sites:
        ledger = out / "sites" / site / "state" / "ledger.jsonl"
        shutil.copy2(ledger, out / "ledgers" / f"{site}.jsonl")


def _report(out: Path, console: Console) -> None:
    rows, meta = read_results(out / "results.json")
    print_frontier(console, rows, meta)
    dashboard = shell_command("infomri", "dashboard", "--run", out)
    mlflow = shell_command("mlflow", "ui", "--backend-store-uri", sqlite_uri(out / "mlflow.db"))
    for line in (
        f"Results    {out / 'results.json'}",
        f"Report     {out / 'privacy-report.html'} (the privacy report, to file)",
        f"Figure     {out / 'frontier.png'}",
        f"Ledgers    {out / 'ledgers'} (what left each hospital)",
        f"Dashboard  {dashboard}",
        f"MLflow     {mlflow}",
    ):
        console.print(line, soft_wrap=True, markup=False)


def _tail(log: Path) -> str:
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])
    except OSError:
        return f"(no log at {log})"
