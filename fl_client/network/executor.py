"""Runs the courier for each message a SuperNode hands out: a fork, not a new process.

``flower-supernode --isolation process`` offers tasks at its Runtime API. This executor has Flower
and the courier imported, forks for each task, and lets the child fetch the message, call the
courier and return the reply. The bundle (FAB) that came with the run is compared with the one this
package would build and is never unpacked or imported: the courier is always the installed one.
"""

import argparse
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import NoReturn, TypeVar, final

import httpx
from flwr.app import Context, Message
from flwr.common.constant import SubStatus
from flwr.proto.message_pb2 import PullObjectRequest, PullObjectResponse
from flwr.proto.runtime_pb2 import (
    AcquireTaskRequest,
    AcquireTaskResponse,
    PullAppMessagesRequest,
    PullAppMessagesResponse,
)
from flwr.supercore.constant import TaskType
from flwr.supercore.heartbeat import HeartbeatSender, make_task_heartbeat_fn_http
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.protobuf.client import ProtobufClientInterceptor
from flwr.supercore.retry import RetryInvoker, make_simple_http_retry_invoker
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode.runtime.run_clientapp import (
    pull_task_input,
    push_message,
    push_task_output,
)

from fl_client.isolation import confine
from fl_client.network import bundle, courier, polling, pulse, supernode
from infomri_core.machine.processes import tether
from infomri_core.system import logs

POLL_SECONDS = 0.2
BELL_SECONDS = 1.0
"""Between two questions to a SuperNode that rings when it has a task."""
_ABSENT_SECONDS = 0.5
_GIVE_UP_SECONDS = 60.0
_MESSAGE_SECONDS = 20.0
_ACQUIRE = frozenset({"/flwr.proto.Runtime/AcquireTask"})
_TASKS = (TaskType.CLIENT_APP, TaskType.AGENT_APP)

_log = logging.getLogger("infomri.executor")


@final
class PatientClient(RuntimeHttpClient):
    """A SuperNode offers a task a moment before it has stored the task's message. Who comes so
    early gets no message, and the SuperNode would wait for that reply for ever: so ask again.
    It stores a message before its objects, and Flower waits 1 s for one that is not there."""

    def PullMessages(  # noqa: N802
        self, request: PullAppMessagesRequest
    ) -> PullAppMessagesResponse:
        until = time.monotonic() + _MESSAGE_SECONDS
        while True:
            answer: PullAppMessagesResponse = super().PullMessages(request)
            if answer.messages_list or time.monotonic() > until:
                return answer
            time.sleep(POLL_SECONDS)

    def PullObject(self, request: PullObjectRequest) -> PullObjectResponse:  # noqa: N802
        until, pause = time.monotonic() + _MESSAGE_SECONDS, polling.OBJECT_SECONDS
        while True:
            answer: PullObjectResponse = super().PullObject(request)
            missing = answer.object_found and not answer.object_available
            if not missing or time.monotonic() > until:
                return answer
            time.sleep(pause)
            pause = min(2 * pause, polling.MOST_OBJECT_SECONDS)


_Client = TypeVar("_Client", bound=RuntimeHttpClient)


def reply_to(message: Message, context: Context, fab: bytes) -> Message:
    """The courier's answer to a message, or a refusal when the run brought a foreign bundle."""
    if not bundle.is_own(fab):
        _log.error("refused a run whose bundle is not the one this package builds")
        sentence = "this site runs the InfoMRI bundle of its own installed version only"
        return Message(courier.error_content("foreign-bundle", sentence), reply_to=message)
    try:
        return courier.app(message, context)
    except Exception:
        _log.exception("the courier could not serve a %s message", message.metadata.message_type)
        content = courier.error_content("unknown-job", "this site does not know this job")
        return Message(content, reply_to=message)


def serve_task(address: str, token: str) -> None:
    """Fetch the message of one acquired task, answer it, and report the task as done."""
    retry = make_simple_http_retry_invoker()
    retry.max_time = _GIVE_UP_SECONDS
    token_of_task = [RuntimeTokenHttpInterceptor(token)]
    client = _client(PatientClient, address, "flwr-clientapp", token_of_task, retry)
    heartbeat = HeartbeatSender(make_task_heartbeat_fn_http(client))
    heartbeat.start()
    message, context, _, fab = pull_task_input(client)
    push_message(client, reply_to(message, context, fab.content), context)
    push_task_output(client, context, SubStatus.COMPLETED, "")


def _poll_pause() -> None:
    time.sleep(POLL_SECONDS)


def run(
    where: Callable[[], str],
    secret: bytes | None,
    beat: Callable[[], None] = lambda: None,
    pause: Callable[[], None] = _poll_pause,
) -> NoReturn:
    """Poll the SuperNode, which is at ``where()`` now, for tasks for ever, with a ``pause`` where
    it has none, and call ``beat`` now and then; SIGTERM and SIGINT end it."""
    signers: list[ProtobufClientInterceptor] = []
    if secret:
        signers.append(
            SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods=_ACQUIRE)
        )
    address, client = "", None
    request = AcquireTaskRequest(supported_task_types=[str(kind.value) for kind in _TASKS])
    children: set[int] = set()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    _log.info("ready")
    while True:
        children -= _reap(children)
        beat()
        if (now := where()) != address:
            address = now
            client = _client(RuntimeHttpClient, address, "SuperExec", signers)
        task = _acquire(client, request) if client and address else None
        if task is None:
            time.sleep(_ABSENT_SECONDS)
        elif task.HasField("task") and task.token:
            children.add(_fork(address, task.token))
        else:
            pause()


def _acquire(client: RuntimeHttpClient, request: AcquireTaskRequest) -> AcquireTaskResponse | None:
    """The next task, an empty answer, or None when there is no SuperNode to ask."""
    try:
        return client.AcquireTask(request)
    except httpx.TransportError:
        return None
    except (httpx.HTTPStatusError, ValueError) as error:
        _log.warning("the SuperNode refused to hand out tasks: %s", error)
        return None


def _fork(address: str, token: str) -> int:
    parent = os.getpid()
    child = os.fork()
    if child:
        _log.info("courier %d started", child)
        return child
    code = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        tether(parent)
        serve_task(address, token)
        code = 0
    except KeyboardInterrupt:
        _log.warning("the SuperNode withdrew a task")
    except BaseException:
        _log.exception("a task could not be served")
    finally:
        logging.shutdown()
        os._exit(code)


def _reap(children: set[int]) -> set[int]:
    done = set()
    for child in children:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            done.add(pid)
            if status:
                _log.warning("a courier ended with status %d", os.waitstatus_to_exitcode(status))
            else:
                _log.info("courier %d served its task", pid)
    return done


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    """End; the kernel takes the tethered couriers along."""
    sys.exit(0)


def _client(
    kind: type[_Client],
    address: str,
    component: str,
    interceptors: Sequence[ProtobufClientInterceptor],
    retry: RetryInvoker | None = None,
) -> _Client:
    version = RuntimeVersionHttpInterceptor(component_name=component)
    return kind.from_server_address(
        server_address=address,
        insecure=True,
        root_certificates=None,
        interceptors=[version, *interceptors],
        retry_invoker=retry,
    )


def main() -> NoReturn:
    """``python -m fl_client.network.executor --runtime-api HOST:PORT [--secret-file FILE]``, or
    ``--confine FOLDER``, whose SuperNode says its port in a file."""
    parser = argparse.ArgumentParser(
        prog="python -m fl_client.network.executor", description=__doc__
    )
    parser.add_argument("--runtime-api", default="", help="the SuperNode's HOST:PORT")
    parser.add_argument("--secret-file", type=Path, help="the secret shared with the SuperNode")
    parser.add_argument("--confine", type=Path, help="open no files but those of this folder")
    arguments = parser.parse_args()
    lines = logs.handler(sys.stderr, "executor", "%(asctime)s %(levelname)s %(message)s")
    logging.basicConfig(level=logging.INFO, handlers=[lines])
    logging.getLogger("httpx").setLevel(logging.WARNING)
    secret = arguments.secret_file.read_bytes() if arguments.secret_file else None
    confine.apply(confine.hide, "no process of this user can look in")
    folder, socket = arguments.confine, Path(os.environ.get(courier.VAULT_SOCKET, ""))
    if folder is None:
        run(lambda: arguments.runtime_api, secret)
    (folder / "flwr").mkdir(parents=True, exist_ok=True)
    keep = confine.courier_keeps(folder, socket)
    confine.apply(lambda: confine.confine(keep), "no files but its own")
    told = supernode.port_file(folder)
    heart = pulse.Heart(pulse.pulse_file(folder), socket)
    bell = polling.Bell(polling.bell_file(folder))
    pause = partial(bell.wait, BELL_SECONDS)
    run(lambda: arguments.runtime_api or _stated(told), secret, heart.beat, pause)


def _stated(path: Path) -> str:
    """The SuperNode's address by the port it wrote down; '' while there is none."""
    try:
        return f"{supernode.HOST}:{int(path.read_text())}"
    except (OSError, ValueError):
        return ""


if __name__ == "__main__":
    main()
