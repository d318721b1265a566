"""The federation with real processes: TLS, node keys, SQLite, and the ways in which it breaks."""

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from flwr.cli.build import build_fab_from_files
from flwr.common.serde import fab_to_proto, user_config_to_proto
from flwr.proto.control_pb2 import StartRunRequest
from flwr.supercore.fab import Fab

from fl_client.network.bundle import own_files
from fl_server.authority.certificates import SiteKit, authority
from fl_server.operations.superlink import SuperLink, SuperLinkOptions
from fl_server.serverapp import run_config
from infomri_core.machine import processes
from infomri_core.system.errors import InputError
from tests.support.realfederation import PLAN, Federation, wait_for
from tests.support.tutorial import call

pytestmark = [
    pytest.mark.processes,
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """Two sites with stand-in vaults; ``pause`` in its folder holds their training up."""
    folder = tmp_path_factory.mktemp("federation")
    pause = str(folder / "pause")
    with Federation(folder, standin=True, STANDIN_SITES="2", STANDIN_PAUSE=pause) as made:
        made.start_superlink()
        made.join_sites("a", "b")
        yield made
    wait_for(lambda: made.pids() == [], 10, lambda: str(made.pids()))


def said(federation: Federation, kit: SiteKit, words: str) -> str:
    """What the client of a kit says once these words are among it; it stays up, idle or trying."""
    log = kit.folder / "client.log"
    wait_for(lambda: log.exists() and words in log.read_text(), 60, federation.told)
    client = federation.clients[kit.name]
    assert client.poll() is None
    processes.stop(client)
    return log.read_text()


def ended(federation: Federation, kit: SiteKit) -> str:
    """What a client that refuses to start has said last."""
    client = federation.clients[kit.name]
    wait_for(lambda: client.poll() is not None, 60, federation.told)
    assert client.returncode != 0
    return (kit.folder / "client.log").read_text()


def test_every_phase_is_answered_by_both_sites(federation: Federation) -> None:
    state = federation.finish(federation.submit())
    assert state.outcome == "completed", federation.told()
    kinds = [[kind for _, kind in phase["replies"]] for phase in federation.times()]
    assert kinds == [["DatasetCard"] * 2, ["TrainReply"] * 2]


def test_a_supernode_killed_while_training_costs_nothing(federation: Federation) -> None:
    pause = federation.folder / "pause"
    pause.touch()
    before = federation.log("a").count("task received: train")
    run_id = federation.submit()
    told = federation.told
    wait_for(lambda: federation.log("a").count("task received: train") > before, 60, told)
    federation.kill("fl_client.network.supernode", str(federation.kits["a"].folder))
    wait_for(lambda: "supernode: ended with code -9" in federation.log("a"), 20, told)
    pause.unlink()
    assert federation.finish(run_id).outcome == "completed", told()
    assert all(len(phase["replies"]) == 2 for phase in federation.times())


def test_a_study_is_stopped_from_the_command_line(
    federation: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLWR_HOME", str(tmp_path))
    federation.name_here(tmp_path)
    pause = federation.folder / "pause"
    pause.touch()
    before = federation.log("a").count("task received: train")
    run_id = federation.submit()
    told = federation.told
    wait_for(lambda: federation.log("a").count("task received: train") > before, 60, told)
    assert f"run {run_id} stopped" in call("infomri", "stop", run_id)
    pause.unlink()
    assert federation.finish(run_id).outcome == "stopped"
    runs = json.loads(call("infomri", "status", run_id, "--json"))["runs"]
    assert [run["outcome"] for run in runs] == ["stopped"]


def test_executor_and_vault_are_restarted(federation: Federation) -> None:
    folder = str(federation.kits["b"].folder)
    wait_for(
        lambda: bool(federation.pids("fl_client.network.executor", folder)), 20, federation.told
    )
    federation.kill("fl_client.network.executor", folder)
    federation.kill("tests.support.standin", "vault", folder)
    for part in ("executor", "vault"):
        wait_for(
            lambda part=part: f"{part}: ended with code -9" in federation.log("b"),
            20,
            federation.told,
        )
    state = federation.finish(federation.submit())
    assert state.outcome == "completed", federation.told()


HOSTILE = "from pathlib import Path\nPath({!r}).touch()\nraise SystemExit\n"


def test_a_bundle_with_a_courier_of_its_own_is_refused_and_nothing_of_it_runs(
    federation: Federation,
) -> None:
    """Through a real SuperLink: it takes the run in, and each site's executor turns it away."""
    marker = federation.folder / "imported"
    code = HOSTILE.format(str(marker)).encode()
    files = {
        "fl_client/__init__.py": code,
        "fl_client/network/courier.py": code,
        "sitecustomize.py": code,
    }
    content = build_fab_from_files({**own_files(), **files})[0]
    digest = hashlib.sha256(content).hexdigest()
    request = StartRunRequest(
        fab=fab_to_proto(Fab(digest, content, {})),
        override_config=user_config_to_proto(run_config(PLAN)),
    )
    federation.finish(str(federation.control._client.StartRun(request).run_id))
    (enrolment, training) = federation.times()
    for phase in (enrolment, training):
        assert [kind for _, kind in phase["replies"]] == ["ErrorReply"] * 2, federation.told()
    assert not marker.exists()
    for site in ("a", "b"):
        assert "executor: refused a run whose bundle is not" in federation.log(site)
    assert federation.finish(federation.submit()).outcome == "completed", federation.told()


def test_an_unknown_key_is_told_with_its_remedy(federation: Federation) -> None:
    kit = federation.provide("unknown")
    federation.start_site(kit)
    told = said(federation, kit, "does not know this site's key")
    assert "register" in told
    assert "starting it again" in told


def test_a_wrong_certificate_is_told_with_its_remedy(federation: Federation) -> None:
    kit = federation.provide("distrust")
    other = authority(federation.folder / "other")
    (kit.folder / "ca.crt").write_bytes(other.certificate.read_bytes())
    federation.start_site(kit)
    told = said(federation, kit, "waiting does not change that")
    assert "did not sign" in told
    assert "ca.crt" in told


def test_a_taken_port_is_told_with_its_remedy(federation: Federation) -> None:
    kit = federation.provide("taken")
    port = f"runtime_port = {federation.superlink.options.port}\n[data]"
    kit.settings.write_text(kit.settings.read_text().replace("[data]", port))
    federation.start_site(kit)
    told = ended(federation, kit)
    assert "a free port" in told
    assert "runtime_port" in told


def test_a_second_client_on_a_state_folder_is_refused_and_the_first_works_on(
    federation: Federation,
) -> None:
    kit = federation.kits["a"]
    secret = kit.folder / "state" / "run" / "executor.secret"
    before = secret.read_bytes()
    command = [processes.script("infomri-client"), "--config", str(kit.settings)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "held by another infomri-client" in done.stderr
    assert secret.read_bytes() == before
    assert federation.finish(federation.submit()).outcome == "completed", federation.told()


def test_a_superlink_on_a_taken_port_is_refused(federation: Federation, tmp_path: Path) -> None:
    port = federation.superlink.options.port
    with pytest.raises(InputError, match="a free port"):
        SuperLink(SuperLinkOptions(tmp_path, tmp_path / "centre.toml", port=port))


def test_a_client_that_is_killed_leaves_no_orphan(federation: Federation) -> None:
    folder = str(federation.kits["b"].folder)
    assert len(federation.pids(folder)) >= 4
    federation.clients["b"].kill()
    federation.clients["b"].wait()
    wait_for(lambda: federation.pids(folder) == [], 10, lambda: str(federation.pids(folder)))


def test_sigterm_is_a_clean_stop(federation: Federation) -> None:
    assert processes.stop(federation.clients["a"], 20.0) == 0
    assert federation.log("a").splitlines()[-1].endswith("stopped")
    wait_for(
        lambda: all(
            node.status != "online" for node in federation.control.nodes() if node.name == "a"
        ),
        10,
        federation.told,
    )
