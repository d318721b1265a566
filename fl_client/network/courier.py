"""The Flower ClientApp: carries listed jobs between study centre and vault, and reads none.

It runs on the side of the site that has the network. It holds no data, imports neither torch nor
h5py, and answers with an InfoMRI error whatever happens: exception text never travels.
"""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from fl_client.settings import JOBS
from fl_client.sockets import channel
from infomri_core.messages import ErrorReply, wire
from infomri_core.messages.secure import SECURE_JOBS
from infomri_core.system.errors import Refused

LISTED = (*JOBS, *SECURE_JOBS)
"""The kinds of message that are carried to the vault: the jobs, and nothing else."""
SHORT_BYTES = 2**20
"""Of a message that travels in one piece."""
VAULT_SOCKET = "INFOMRI_VAULT_SOCKET"
RESTART_PATIENCE_SECONDS = 60.0
_RETRY_SECONDS = 0.2

_log = logging.getLogger(__name__)


def pack(data: bytes) -> RecordDict:
    """The Flower content that holds one InfoMRI message. Each object of Flower's is a request of
    its own on every leg: a short message is one, a long one an array that travels in pieces."""
    if len(data) <= SHORT_BYTES:
        return RecordDict({"infomri": ConfigRecord({"message": data})})
    array = Array(dtype="uint8", shape=(len(data),), stype="infomri.message", data=data)
    return RecordDict({"infomri": ArrayRecord({"message": array})})


def unpack(content: RecordDict) -> bytes:
    """The InfoMRI message in a Flower content. Raises ``Refused("bad-message")``."""
    record = content.get("infomri")
    held = record.get("message") if isinstance(record, ConfigRecord | ArrayRecord) else None
    if isinstance(held, Array) and held.stype == "infomri.message":
        held = held.data
    if not isinstance(held, bytes):
        raise Refused("bad-message", "the Flower message holds no InfoMRI message")
    return held


def error_content(code: str, sentence: str) -> RecordDict:
    """The Flower content of an :class:`ErrorReply`."""
    return pack(wire.encode(ErrorReply(code, sentence).to_message()))


def carry(content: RecordDict, socket: Path) -> RecordDict:
    """Take a task to the vault behind ``socket`` and bring its reply back, or an error reply."""
    try:
        data = unpack(content)
        head = wire.peek(data)
        if head.kind not in LISTED:
            raise Refused("unknown-job", "this site has no job of that name")
        return pack(_ask(socket, data, _deadline(head)))
    except Refused as refusal:
        return error_content(refusal.code, refusal.sentence)
    except TimeoutError:
        return error_content("deadline", "the deadline passed before the site was done")
    except Exception:
        _log.exception("the vault at %s could not be asked", socket)
        return error_content("vault-unreachable", "the site's vault could not be reached")


def answer(message: Message, context: Context) -> Message:
    """Carry any message of the closed list; the vault knows what each asks."""
    socket = Path(os.environ.get(VAULT_SOCKET, ""))
    return Message(carry(message.content, socket), reply_to=message)


def client_app(answer: Callable[[Message, Context], Message]) -> ClientApp:
    """The ClientApp that answers every message of the closed list with ``answer``."""
    made = ClientApp()
    queries = [job for job in LISTED if job not in ("train", "adapt", "evaluate")]
    for register in (
        *map(made.query, queries),
        *(made.train(), made.train("adapt"), made.evaluate()),
    ):
        register(answer)
    return made


app = client_app(answer)


def _deadline(head: wire.Message) -> float:
    deadline = head.header.get("deadline")
    if not isinstance(deadline, int | float) or isinstance(deadline, bool):
        raise Refused("bad-message", "the task names no deadline")
    if not np.isfinite(deadline):
        raise Refused("bad-message", "the task's deadline is not a time")
    return float(deadline)


def _ask(socket: Path, data: bytes, deadline: float) -> bytes:
    """Call the vault. No one listens while it is being restarted: try again for a while, and
    repeat a task once that a dying vault took along; what ends it twice is refused for good."""
    patience = min(deadline, time.time() + RESTART_PATIENCE_SECONDS)
    repeated = False
    while True:
        left = deadline - time.time()
        if left <= 0:
            raise TimeoutError
        try:
            return channel.call(socket, data, left)
        except (ConnectionResetError, BrokenPipeError):
            if repeated:
                sentence = "this task ended the site's vault twice; the site's log says why"
                raise Refused("vault-died", sentence) from None
            repeated = True
            patience = min(deadline, time.time() + RESTART_PATIENCE_SECONDS)
        except (ConnectionRefusedError, FileNotFoundError):
            if time.time() + _RETRY_SECONDS > patience:
                raise
        time.sleep(_RETRY_SECONDS)
