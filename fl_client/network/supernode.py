"""Runs Flower's SuperNode, confined to its own files, after taking back what a predecessor left.

A SuperLink counts a SuperNode that died without a word as online for a minute, and admits no
other with its key so long. So the node id is kept in a file, and before the next start the
SuperLink is told, signed with the node's key, that the former connection is over.
"""

import argparse
import logging
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from fl_client.isolation import confine
from fl_client.network import clocks, polling
from fl_client.network.endings import Ending, ending_of
from fl_client.settings import SiteSettings, read_settings
from infomri_core.machine import processes
from infomri_core.machine.ports import check_port, free_port
from infomri_core.system import logs
from infomri_core.system.errors import InputError

HOST = "127.0.0.1"

_log = logging.getLogger("infomri.supernode")


def node_file(folder: Path) -> Path:
    """Where the id stands under which the SuperLink last admitted this site."""
    return folder / "run" / "node"


def secret_file(folder: Path) -> Path:
    """The secret that SuperNode and executor share."""
    return folder / "run" / "executor.secret"


def port_file(folder: Path) -> Path:
    """Where the SuperNode says at which port the executor meets it; new at every start."""
    return folder / "flwr" / "port"


def command(settings: SiteSettings, secret: Path, port: int) -> list[str]:
    """The command line of the site's ``flower-supernode``, met by the executor at ``port``."""
    link = settings.superlink
    line = [
        processes.script("flower-supernode"),
        *("--isolation", "process", "--superlink", link.address),
        *("--host", HOST, "--port", str(port)),
        *("--superexec-auth-secret-file", str(secret)),
    ]
    if link.root_certificate is None:
        line += ["--insecure"]
    else:
        line += ["--root-certificates", str(link.root_certificate)]
    if link.node_key is not None:
        line += ["--auth-supernode-private-key", str(link.node_key)]
    return line


def release(settings: SiteSettings, node: int) -> None:
    """Tell the SuperLink that the connection as ``node`` is over."""
    from flwr.proto.fleet_pb2 import DeactivateNodeRequest
    from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
    from flwr.supernode.fleet_http_client import FleetHttpClient
    from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

    link = settings.superlink
    if link.node_key is None or link.root_certificate is None:
        return
    key = load_ssh_private_key(link.node_key.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        return
    signer = NodeAuthHttpInterceptor(key, key.public_key())
    version = RuntimeVersionHttpInterceptor(component_name="SuperNode")
    certificate = link.root_certificate.read_bytes()
    with FleetHttpClient.from_server_address(
        link.address, False, certificate, interceptors=[version, signer]
    ) as client:
        client.DeactivateNode(DeactivateNodeRequest(node_id=node))


def serve(settings: SiteSettings, folder: Path) -> NoReturn:
    """Be the site's SuperNode until told to end. Flower's own program stays, deaf, when its main
    loop gave up, because its API's thread continues: this one ends, with a code that says why."""
    link = settings.superlink
    port = link.runtime_port or free_port(HOST)
    if link.root_certificate is not None:
        measure = partial(clocks.offset, link.address, link.root_certificate)
        clocks.await_agreement(link.address, measure)
    admitted = node_file(folder)
    if admitted.exists():
        try:
            release(settings, int(admitted.read_text()))
        except Exception as error:
            _log.info("no former connection to take back: %s", error)
    from flwr.supernode import fleet_http_connection, start_client_internal
    from flwr.supernode.cli.flower_supernode import flower_supernode

    code = 1
    vars(fleet_http_connection)["flwr_exit"] = _leave
    pace(vars(start_client_internal), polling.bell_file(folder))
    sys.argv = command(settings, secret_file(folder), port)
    try:
        port_file(folder).write_text(str(port))
        flower_supernode()
        _log.error("the SuperNode gave up on an answer of %s", link.address)
    except Exception as error:
        code = _code_of(error, port)
        _log.error("the SuperNode failed: %s: %s", type(error).__name__, error)
    logging.shutdown()
    os._exit(code)


def pace(loop: dict[str, Any], bell: Path, sleep: Callable[[float], None] = time.sleep) -> None:
    """Have the main loop of Flower's module with the names ``loop``, which sleeps for fixed times,
    sleep as long as it needs, and ring the ``bell`` for each task."""
    poller = polling.Poller(bell, polling.Pauses(), sleep)
    loop["time"] = poller
    loop["_push_messages"] = poller.ringing(loop["_push_messages"])
    loop["pull_objects"] = partial(
        loop["pull_objects"],
        initial_backoff=polling.OBJECT_SECONDS,
        backoff_cap=polling.MOST_OBJECT_SECONDS,
    )


def _leave(code: int, message: str | None = None, **more: object) -> NoReturn:
    """End the process as Flower would, where it gives up on the connection, but with a code that
    says which error made it."""
    error = sys.exc_info()[1]
    ending = ending_of(error) if error is not None else None
    _log.error("Flower gave up with code %d: %s", code, message)
    logging.shutdown()
    os._exit(ending or 1)


def _code_of(error: Exception, port: int) -> int:
    """The exit code for what Flower raised; a port that another program took raises nothing in
    Flower that would tell."""
    try:
        check_port(HOST, port)
    except InputError:
        return Ending.PORT_TAKEN
    return ending_of(error) or 1


def main() -> NoReturn:
    """``python -m fl_client.network.supernode --config site.toml --folder FOLDER``."""
    parser = argparse.ArgumentParser(
        prog="python -m fl_client.network.supernode", description=__doc__
    )
    parser.add_argument("--config", type=Path, required=True, help="the site's site.toml")
    parser.add_argument("--folder", type=Path, required=True, help="where its files are")
    arguments = parser.parse_args()
    lines = logs.handler(sys.stderr, "supernode", "%(asctime)s %(levelname)s %(message)s")
    for logger in (_log, confine.log):
        logger.addHandler(lines)
        logger.setLevel(logging.INFO)
    try:
        settings = read_settings(arguments.config)
        (arguments.folder / "flwr").mkdir(parents=True, exist_ok=True)
        keep = confine.supernode_keeps(settings.superlink, arguments.folder)
        confine.apply(confine.hide, "no process of this user can look in")
        confine.apply(lambda: confine.confine(keep), "no files but its own")
    except InputError as error:
        _log.error("%s", error)
        sys.exit(2)
    except OSError as error:
        _log.error("%s: %s", error.filename or "the state folder", error.strerror)
        sys.exit(Ending.UNWRITABLE)
    serve(settings, arguments.folder)


if __name__ == "__main__":
    main()
