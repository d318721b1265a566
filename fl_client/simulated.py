"""A simulated site's ClientApp: courier and vault of many hospitals in one process.

``infomri simulate`` has Flower's simulation engine run it in Ray's processes. A site is its folder
with a ``site.toml``, as it is at a hospital: its data, key, ledger, optimizer state and replies
are opened for a message and closed after it, so any process can take any site's next message.
What a vault process adds is missing: the network is not taken away, and nothing lives in memory
between two messages, so there is no secure aggregation.
"""

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from flwr.app import Context, Message, RecordDict

from fl_client.network.courier import client_app, error_content, pack, unpack
from fl_client.settings import read_settings
from fl_client.vault.process import opened
from infomri_core.system.errors import InputError, Refused

SITES = "INFOMRI_SIMULATED_SITES"
LOG = "client.log"

_log = logging.getLogger(__name__)


def answer(message: Message, context: Context) -> Message:
    """Do a message's job at the site whose number is the context's ``partition-id``."""
    folders = sorted(path.parent for path in Path(os.environ[SITES]).glob("*/site.toml"))
    folder = folders[int(str(context.node_config["partition-id"]))]
    with _logged(folder / LOG):
        return Message(reply_of(folder, message.content), reply_to=message)


def reply_of(folder: Path, content: RecordDict) -> RecordDict:
    """The reply of the site in ``folder``, or an error reply; exception text stays in its log."""
    try:
        data = unpack(content)
        with opened(read_settings(folder / "site.toml"), lambda: False) as jobs:
            return pack(jobs.handle(data))
    except Refused as refusal:
        return error_content(refusal.code, refusal.sentence)
    except (InputError, OSError):
        _log.exception("site %s could not be opened", folder.name)
        return error_content("vault-unreachable", "the simulated site could not be opened")


@contextlib.contextmanager
def _logged(path: Path) -> Iterator[None]:
    """What this process logs goes to ``path``."""
    root = logging.getLogger()
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.setLevel(before)
        root.removeHandler(handler)
        handler.close()


app = client_app(answer)
