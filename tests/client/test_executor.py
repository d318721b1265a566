"""The executor: only our bundle, always an answer, no stuck task."""

import dataclasses
import hashlib
import io
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from importlib.resources import as_file, files

import pytest
import uvicorn
from flwr.app import Context, Message, RecordDict
from flwr.cli.build import build_fab_from_disk, build_fab_from_files
from flwr.proto.message_pb2 import PullObjectRequest, PullObjectResponse
from flwr.supercore.constant import TaskType
from flwr.supercore.fab import Fab
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.run import Run
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode.main import create_app
from flwr.supernode.nodestate import NodeStateFactory
from flwr.supernode.start_client_internal import _insert_message

from fl_client.network import bundle, courier, executor
from fl_client.network.polling import OBJECT_SECONDS
from infomri_core.machine.ports import free_port
from infomri_core.messages import ErrorReply, reply_from, wire
from tests.support.realfederation import wait_for

pytestmark = pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")

HOSTILE = "import os; os.abort()\n"


def own_fab() -> bytes:
    with as_file(files("infomri_core") / "app") as folder:
        return build_fab_from_disk(folder)


def rebuilt(**changed: bytes | None) -> bytes:
    """Our bundle with files added, changed or (None) left out; ``__`` in a name means a dot."""
    contents = dict(bundle.own_files())
    for name, data in changed.items():
        path = name.replace("__", ".").replace("_slash_", "/")
        contents.pop(path, None)
        if data is not None:
            contents[path] = data
    return build_fab_from_files(contents)[0]


def zipped(contents: list[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents:
            archive.writestr(name, data)
    return buffer.getvalue()


def message_to(kind: str, content: RecordDict | None = None) -> tuple[Message, Context]:
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 7, 1, 1
    message = Message(content or courier.pack(b"bytes"), 5, kind)
    return message, Context(7, 5, {}, RecordDict(), {})


def error(message: Message) -> ErrorReply:
    reply = reply_from(wire.decode(courier.unpack(message.content)))
    assert isinstance(reply, ErrorReply)
    return reply


def test_the_bundle_is_constant_and_holds_no_code() -> None:
    assert own_fab() == own_fab()
    with zipfile.ZipFile(io.BytesIO(own_fab())) as archive:
        assert set(archive.namelist()) == {"pyproject.toml", "README.md", ".info/CONTENT"}


def test_our_bundle_is_accepted_however_it_was_zipped() -> None:
    assert bundle.is_own(own_fab())
    assert bundle.is_own(zipped(sorted(bundle.own_files().items(), reverse=True)))


PROJECT = bundle.own_files()["pyproject.toml"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: rebuilt(fl_client_slash_courier__py=HOSTILE.encode()),
        lambda: rebuilt(sitecustomize__py=HOSTILE.encode()),
        lambda: rebuilt(README__md=b"another"),
        lambda: rebuilt(README__md=None),
        lambda: rebuilt(
            pyproject__toml=PROJECT.replace(b"fl_client.network.courier", b"evil.courier")
        ),
        lambda: rebuilt(pyproject__toml=PROJECT + b"\n[tool.other]\nkey = 1\n"),
        lambda: zipped([*bundle.own_files().items(), ("../escape.py", b"")]),
        lambda: zipped([*bundle.own_files().items(), ("big.md", bytes(10**8))]),
        lambda: own_fab()[:-30],
        lambda: b"",
        lambda: b"no zip",
    ],
)
def test_any_other_bundle_is_refused_with_an_answer(make: Callable[[], bytes]) -> None:
    fab = make()
    assert not bundle.is_own(fab)
    message, context = message_to("train")
    assert error(executor.reply_to(message, context, fab)).code == "foreign-bundle"


def test_a_file_named_twice_is_refused() -> None:
    twice = [*bundle.own_files().items(), ("README.md", b"x")]
    with pytest.warns(UserWarning, match="Duplicate name"):
        fab = zipped(twice)
    assert not bundle.is_own(fab)


def test_an_unknown_job_is_answered() -> None:
    message, context = message_to("train.other")
    assert error(executor.reply_to(message, context, own_fab())).code == "unknown-job"


def test_a_known_job_goes_to_the_courier() -> None:
    message, context = message_to("query.enrol")
    assert error(executor.reply_to(message, context, own_fab())).code == "bad-message"


def test_it_ends_with_its_parent() -> None:
    code = (
        "import subprocess, sys, os, pathlib;"
        "from infomri_core.machine import processes;"
        "program = [sys.executable, '-m', 'fl_client.network.executor'];"
        "command = [*program, '--runtime-api', '127.0.0.1:1'];"
        "child = processes.start(command, pathlib.Path(os.devnull));"
        "print(child.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    pid = int(done.stdout)
    waiting = ["tail", f"--pid={pid}", "-f", "/dev/null"]
    subprocess.run(waiting, timeout=30, check=True)


def test_an_object_that_is_not_there_yet_is_asked_for_again_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    missing = PullObjectResponse(object_found=True, object_available=False)
    there = PullObjectResponse(object_found=True, object_available=True, object_content=b"x")
    answers, slept = [missing, missing, there], list[float]()
    monkeypatch.setattr(RuntimeHttpClient, "PullObject", lambda *_: answers.pop(0))
    monkeypatch.setattr(executor.time, "sleep", slept.append)
    client = executor.PatientClient("http://localhost")
    assert client.PullObject(PullObjectRequest()).object_content == b"x"
    assert slept == [OBJECT_SECONDS, 2 * OBJECT_SECONDS]
    answers = [PullObjectResponse(object_found=False)]
    assert not client.PullObject(PullObjectRequest()).object_found


def test_a_task_offered_before_its_message_is_there_is_answered_all_the_same() -> None:
    """Flower's own node state and API, in the order that a busy machine makes of them."""
    state = NodeStateFactory(ObjectStoreFactory())
    port = free_port()
    config = uvicorn.Config(create_app(state), "127.0.0.1", port, ws="none", log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        node, store = state.state(), state.objectstore_factory.store()
        fab = Fab(hashlib.sha256(own_fab()).hexdigest(), own_fab(), {})
        node.set_node_id(1)
        node.store_fab(fab)
        node.store_run(dataclasses.replace(Run.create_empty(7), fab_hash=fab.hash_str))
        node.set_run_series_context(0, Context(7, 1, {}, RecordDict(), {}))
        task = node.create_task(TaskType.CLIENT_APP, 7, fab.hash_str)
        assert task is not None
        token = node.claim_task(task)
        assert token is not None
        courier_ = threading.Thread(
            target=executor.serve_task, args=(f"127.0.0.1:{port}", token), daemon=True
        )
        wait_for(lambda: server.started, 10)
        courier_.start()
        wait_for(lambda: node.get_tasks()[0].status.status == "running", 10)
        message, _ = message_to("query.enrol")
        _insert_message(message, node, store)
        wait_for(lambda: bool(node.get_messages_legacy(is_reply=True)), 10)
        courier_.join(10)
        assert node.get_tasks()[0].status.sub_status == "completed"
    finally:
        server.should_exit = True
        thread.join(10)
