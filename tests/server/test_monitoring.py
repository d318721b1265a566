"""What a site and a centre tell those who watch them: figures and log lines, never a patient."""

import contextlib
import io
import json
import logging
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tomli_w
import torch
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from fl_client.cli import app
from fl_client.jobs import Jobs
from fl_client.memory.ledger import Ledger
from fl_client.settings import read_settings
from fl_client.sockets import channel, status
from fl_client.sockets.status import Tally, VaultStatus, vault_status
from fl_client.vault import metrics
from fl_server.operations.control import NodeState
from fl_server.operations.prometheus import CentreFigures
from fl_server.operations.prometheus import serve as serve_centre
from fl_server.run.events import Progress
from fl_server.study.study import initial_state
from infomri_core.data import open_dataset
from infomri_core.machine.ports import free_port
from infomri_core.messages import EnrolTask, ErrorReply, EvaluateTask, TrainTask
from infomri_core.plan.reading import parse_plan
from infomri_core.site.site import Site
from infomri_core.system import logs
from infomri_core.system.errors import InputError
from tests.client.test_site_commands import SITE
from tests.support import small
from tests.support.vault_fakes import (
    FAR,
    PLAN,
    RELEASE_PLAN,
    FakeSite,
    ask,
    encode,
    enrol_task,
    evaluate_task,
    jobs_in,
    make_plan,
    make_settings,
    make_table,
    release_task,
    train_task,
)


def scraped(port: int) -> dict[tuple[str, ...], float]:
    """Samples by name and label values."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    samples = [s for family in families for s in family.samples]
    return {(s.name, *(s.labels[key] for key in sorted(s.labels))): s.value for s in samples}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    """A folder with a ``site.toml`` and a vault that serves it, after one enrolment, one round
    under differential privacy, the same round again, and a refusal."""
    (tmp_path / "site.toml").write_text(SITE)
    plan = make_plan(privacy={"noise_multiplier": 4.0, "rate": 0.25, "lot": 4, "losses": True})
    settings = read_settings(tmp_path / "site.toml")
    with jobs_in(tmp_path) as (vault, _, _):
        for task in (enrol_task(plan), train_task(plan), train_task(plan)):
            vault.handle(encode(task))
        vault.handle(b"nonsense")
        with status.served(settings.vault, vault.status):
            while not channel.listening(settings.vault.status_path):
                time.sleep(0.01)
            yield tmp_path


def status_of(folder: Path) -> VaultStatus:
    answer = vault_status(folder / "state" / "status" / "status.sock")
    assert answer is not None
    return answer


def test_a_vault_tells_what_its_ledger_adds_up_to(site: Path) -> None:
    ledger = (site / "state" / "ledger.jsonl").read_text()
    lines = [json.loads(line) for line in ledger.splitlines()]
    tally = status_of(site).tally
    assert tally.replies == {"enrol": 1, "train": 2}
    assert sum(tally.refusals.values()) == 1
    assert tally.n_bytes == sum(line["n_bytes"] for line in lines)
    epsilon = next(line["privacy"]["epsilon"] for line in lines if line.get("privacy"))
    assert tally.epsilon is not None
    assert 0 <= tally.epsilon - epsilon <= 0.01
    assert tally.last == pytest.approx(time.time(), abs=60)


def test_prometheus_reads_the_vault_s_figures_over_its_socket(site: Path) -> None:
    port = free_port()
    metrics.serve(site / "state" / "status" / "status.sock", ("127.0.0.1", port))
    found, told = scraped(port), status_of(site).tally
    assert found["infomri_vault_up",] == 1
    assert found["infomri_vault_busy",] == 0
    assert found["infomri_vault_replies_total", "train"] == 2
    assert found["infomri_vault_refusals_total", *told.refusals] == 1
    assert found["infomri_vault_sent_bytes_total",] == told.n_bytes
    assert found["infomri_vault_epsilon",] == told.epsilon


def test_a_vault_that_is_gone_is_seen_to_be(tmp_path: Path) -> None:
    port = free_port()
    metrics.serve(tmp_path / "vault.sock", ("127.0.0.1", port))
    assert scraped(port) == {("infomri_vault_up",): 0}
    with pytest.raises(InputError, match="free"):
        metrics.serve(tmp_path / "vault.sock", ("127.0.0.1", port))


def test_status_is_a_health_check(site: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    line = ["status", "--config", str(site / "site.toml")]
    well = CliRunner().invoke(app, line)
    assert well.exit_code == 0
    assert well.output.startswith("vault of north: waiting; 3 replies, 1 refusals")
    (code,) = status_of(site).tally.refusals
    assert f"refused 1 times: {code}" in well.output
    empty = tmp_path_factory.mktemp("empty") / "site.toml"
    empty.write_text(SITE)
    ill = CliRunner().invoke(app, ["status", "--config", str(empty)])
    assert ill.exit_code == 1
    assert "no vault answers" in ill.output


def test_a_status_of_an_older_or_foreign_vault_is_none(tmp_path: Path) -> None:
    assert VaultStatus("north", False).tally == Tally()
    assert vault_status(tmp_path / "nobody") is None


def test_prometheus_reads_runs_and_sites_of_the_centre(tmp_path: Path) -> None:
    progress = Progress(tmp_path / "knee-1" / "events.jsonl")
    progress.report("round", "round 1", phase=1, phases=5, seconds=7.0)
    progress.report("refused", "site b refused")
    progress.report("round", "round 2", phase=2, phases=5, seconds=9.0)
    for event in ("audit", "evaluate", "finished"):
        progress.report(event, event)
    nodes = [NodeState("1", "a", "online"), NodeState("2", "b", "offline")]
    port = free_port()
    serve_centre(CentreFigures(tmp_path, lambda: nodes), ("127.0.0.1", port))
    found = scraped(port)
    assert found["infomri_run_rounds", "knee-1"] == 2
    assert found["infomri_run_refusals", "knee-1"] == 1
    assert found["infomri_run_finished", "knee-1"] == 1
    assert found["infomri_run_phase_seconds", "train", "knee-1"] == 9.0
    assert 0 < found["infomri_run_phase_seconds", "evaluate", "knee-1"] < 60
    assert (found["infomri_sites", "online"], found["infomri_superlink_up",]) == (1, 1)


def test_a_centre_without_a_superlink_still_answers(tmp_path: Path) -> None:
    def nodes() -> list[NodeState]:
        raise InputError("superlink", "one", "none", "start it")

    families = {f.name: f.samples for f in CentreFigures(tmp_path, nodes).collect()}
    assert families["infomri_superlink_up"][0].value == 0
    assert "infomri_sites" not in families


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """All log lines of the vault's modules, as a collector gets them."""
    monkeypatch.setenv(logs.STYLE, "json")
    stream = io.StringIO()
    root, handler = logging.getLogger(), logs.handler(stream, "vault", "%(message)s")
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield stream
    root.removeHandler(handler)
    root.setLevel(level)


def test_collected_log_lines_name_no_patient(tmp_path: Path, collected: io.StringIO) -> None:
    table = make_table()
    patients = {str(name) for name in table.patients}
    consent = tmp_path / "consent"
    consent.write_text("\n".join(sorted(patients)))
    site = FakeSite(table)
    with jobs_in(tmp_path, site, consent=consent, max_released_fraction=0.9) as (vault, _, _):
        tasks = (enrol_task(PLAN), train_task(PLAN), evaluate_task(PLAN))
        replies = [ask(vault, task) for task in (*tasks, release_task(RELEASE_PLAN))]
        assert not any(isinstance(reply, ErrorReply) for reply in replies)
        secret = sorted(patients)[0]

        def fail(task: object) -> object:
            raise KeyError(f"no slice of {secret}")

        site.result = fail  # type: ignore[assignment]
        ask(vault, train_task(PLAN, fill=1.0))
    lines = [json.loads(line) for line in collected.getvalue().splitlines()]
    outcomes = [line["message"] for line in lines if line["message"].startswith("job=")]
    assert len(outcomes) == 5
    assert {line.split()[0] for line in outcomes} == {
        "job=enrol",
        "job=train",
        "job=evaluate",
        "job=release",
    }
    failure = next(line for line in lines if "exception" in line)
    assert failure["exception"] == "KeyError"
    assert any(call.startswith("service.py:") for call in failure["at"])
    assert not [p for p in patients if p in collected.getvalue()]


def test_a_site_that_really_computes_names_no_patient_either(
    tmp_path: Path, collected: io.StringIO
) -> None:
    """Enrolment, a round and scoring, with an attack and the site's report of who fared worst."""
    torch.set_num_threads(1)
    table = small.small_table(rounds=1, quorum=1)
    table["evaluation"]["noise"] = False
    plan, data = parse_plan(tomli_w.dumps(table)), open_dataset(small.site_uri("a"))
    state = initial_state(plan, torch.ones(2, 32, 32))
    variance = np.ones((2, 32, 32), np.float32)
    attacks = {"mean": {"image": np.zeros((32, 32), np.float32)}}
    settings = make_settings(tmp_path, min_cohort=2)
    site = Site(data, "north", tmp_path / "state")
    with contextlib.closing(Ledger.open(tmp_path / "state" / "ledger.jsonl")) as ledger:
        vault = Jobs(settings, site, data.table, ledger)
        for task in (
            EnrolTask(plan.text, FAR),
            TrainTask(plan.text, 1, FAR, variance, state.arms),
            EvaluateTask(plan.text, 1, FAR, state.arms, attacks),
        ):
            assert not isinstance(ask(vault, task), ErrorReply), collected.getvalue()
    assert collected.getvalue().count("outcome=answered") == 3
    patients = {str(name) for name in data.table.patients}
    assert not [p for p in patients if p in collected.getvalue()]


def test_text_lines_are_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(logs.STYLE, raising=False)
    stream = io.StringIO()
    record = logging.LogRecord("x", logging.ERROR, "", 1, "bad %s", ("disk",), None)
    logs.handler(stream, "vault", "%(levelname)s vault: %(message)s").handle(record)
    assert stream.getvalue() == "ERROR vault: bad disk\n"
    assert logs.message_of(stream.getvalue(), "ERROR vault: ") == "bad disk"
    assert logs.message_of(logs.JsonLines("vault").format(record), "ERROR vault: ") == "bad disk"
