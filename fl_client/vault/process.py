"""The vault: the process that holds a site's data and answers at its socket, and nowhere else.

``python -m fl_client.vault.process --config site.toml``; ``infomri-client`` starts and watches it.
It opens the data once, keeps running until SIGTERM, and uses no network.
"""

import argparse
import contextlib
import logging
import os
import secrets
import signal
import string
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

import torch

from fl_client.isolation import confine
from fl_client.jobs import Jobs
from fl_client.memory.chain.held import InUse
from fl_client.memory.chain.lines import RECOVERED
from fl_client.memory.chain.recovery import check_signature
from fl_client.memory.ledger import Ledger
from fl_client.settings import SiteSettings, read_settings
from fl_client.sockets import channel, status
from fl_client.vault.datasets import DataSet, DataSets, Handler
from fl_client.vault.ledger_watch import watched
from infomri_core.data import open_dataset
from infomri_core.data.uri import parse_uri
from infomri_core.plugins import registry as plugins
from infomri_core.site.site import open_site
from infomri_core.system import logs
from infomri_core.system.device import even_time
from infomri_core.system.errors import InputError
from infomri_core.system.files import sweep, write_atomically

log = logging.getLogger(__name__)


class DataAbsent(InputError):
    """The data are not where they should be: a wrong path, or a share that is not mounted yet."""


def run_vault(settings: SiteSettings, stop: threading.Event) -> None:
    """Serve the site until ``stop`` is set. Raises ``InputError`` when it cannot begin."""
    with opened(settings, stop.is_set) as jobs, status.served(settings.vault, jobs.status):
        log.info("vault ready at %s", settings.vault.socket_path)
        channel.serve(
            settings.vault.socket_path,
            jobs.handle,
            stop,
            group=settings.vault.group_id,
            limit=settings.policy.max_message_mib * 2**20,
        )
    log.info("vault stopped")


@contextlib.contextmanager
def opened(settings: SiteSettings, stopping: Callable[[], bool]) -> Iterator[Handler]:
    """The site's data sets, keys and ledgers, ready for jobs. Raises ``InputError``."""
    plugins.allow(settings.policy.plugins, "site.toml: [policy] plugins")
    if settings.policy.plugins:
        log.info("code of others may run on the data: %s", ", ".join(settings.policy.plugins))
    if settings.vault.threads:
        torch.set_num_threads(settings.vault.threads)
    with contextlib.ExitStack() as stack:
        sets = {
            name: stack.enter_context(_opened_set(settings.exposing(name), stopping))
            for name in ("", *settings.datasets)
        }
        yield DataSets(settings.policy, sets) if settings.datasets else sets[""].jobs


@contextlib.contextmanager
def _opened_set(settings: SiteSettings, stopping: Callable[[], bool]) -> Iterator[DataSet]:
    state = settings.vault.state
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    ledger = Ledger.open(state / "ledger.jsonl")
    try:
        for line in ledger.entries():
            if line.kind == RECOVERED:
                check_signature(line)
        sweep(state)
        path = parse_uri(settings.data.uri).path
        _check_there(path)
        dataset = open_dataset(settings.data.uri)
        site = open_site(
            dataset,
            settings.site.name,
            state / "optimizer",
            settings.vault.device,
            site_key(state / "site.key"),
            settings.policy.min_cohort,
            trained=ledger.trained,
        )
        n_patients = len(set(dataset.table.patients))
        log.info("site %s: %d slices of %d patients", site.name, len(dataset), n_patients)
        jobs = Jobs(settings, site, dataset.table, ledger, stopping, data_path=path)
        with watched(ledger):
            yield DataSet(jobs, ledger, dataset.table)
    finally:
        ledger.close()


def _check_there(path: str) -> None:
    """Raise :class:`DataAbsent` for data that are not there now: no file, or an empty folder."""
    if not path:
        return
    place = Path(path)
    if not place.exists() or (place.is_dir() and next(place.iterdir(), None) is None):
        got = "an empty folder" if place.exists() else "no such file or folder"
        remedy = "check [data] uri, or wait for the share that holds them to be mounted"
        raise DataAbsent(path, "the site's data", got, remedy)


def site_key(path: Path) -> str:
    """The site's own secret, hexadecimal; made on first use and never sent."""
    if not path.exists():
        write_atomically(path, secrets.token_hex(32).encode())
    key = path.read_text(encoding="ascii", errors="replace").strip()
    if len(key) != 64 or not all(c in string.hexdigits for c in key):
        remedy = "restore it from a backup, or remove it to have a new one made"
        raise InputError(str(path), "64 hexadecimal digits", "something else", remedy)
    return key


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 0 after SIGTERM, 2 when the input is refused,
    3 when the state folder cannot be written, or another vault has it still, 4 when the data are
    not there."""
    parser = argparse.ArgumentParser(prog="python -m fl_client.vault.process", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the site's site.toml")
    options = parser.parse_args(arguments)
    lines = logs.handler(sys.stderr, "vault", "%(asctime)s %(levelname)s vault: %(message)s")
    logging.basicConfig(level=logging.INFO, handlers=[lines])
    os.umask(0o077)
    stop = threading.Event()

    def end(signum: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    try:
        confine.apply(confine.hide, "no process of this user can look in")
        confine.apply(confine.drop_network, "no network, Unix sockets only")
        with even_time():
            run_vault(read_settings(options.config), stop)
    except InUse as error:
        log.error("%s", error)
        return 3
    except InputError as error:
        log.error("%s", error)
        return 4 if isinstance(error, DataAbsent) else 2
    except OSError as error:
        where = error.filename or options.config
        log.error("%s: %s; make room, or give this user the right", where, error.strerror)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
