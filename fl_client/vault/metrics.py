"""What a site tells its Prometheus: the vault's own figures, asked for over its status socket.

The vault has no network, so anyone who supervises it or its courier answers at a port. Needs the
extra ``metrics``.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import final

from fl_client.sockets.status import Tally, vault_status
from infomri_core.system.errors import InputError

try:
    from prometheus_client import CollectorRegistry, start_http_server
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError:
    remedy = "pip install 'infomri-federated[metrics]'"
    raise InputError("--metrics", "the extra 'metrics'", "none", remedy) from None


@final
class VaultFigures(Collector):
    """Asks the vault behind its status ``socket`` at every scrape."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def collect(self) -> Iterator[Metric]:
        """``infomri_vault_up`` alone where no vault answers."""
        status = vault_status(self._socket)
        yield _gauge("up", "Whether the vault answers.", float(status is not None))
        if status is not None:
            yield _gauge("busy", "Whether the vault computes.", float(status.busy))
            yield _gauge("ledger_sound", "Whether the ledger is unchanged.", float(status.sound))
            yield from _departures(status.tally)


def _departures(tally: Tally) -> Iterator[Metric]:
    replies = CounterMetricFamily("infomri_vault_replies", "Replies that left.", labels=["job"])
    for job, n in tally.replies.items():
        replies.add_metric([job], n)
    refusals = CounterMetricFamily("infomri_vault_refusals", "Tasks refused.", labels=["code"])
    for code, n in tally.refusals.items():
        refusals.add_metric([code], n)
    yield from (replies, refusals)
    yield CounterMetricFamily("infomri_vault_sent_bytes", "Bytes that left.", tally.n_bytes)
    epsilon = float("inf") if tally.epsilon is None else tally.epsilon
    yield _gauge("epsilon", "Privacy spent by all studies together.", epsilon)
    yield _gauge("last_departure_seconds", "Unix time of the last reply that left.", tally.last)


def _gauge(name: str, what: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"infomri_vault_{name}", what, value)


def serve(socket: Path, address: tuple[str, int]) -> None:
    """Answer scrapes at ``address`` from a thread of its own. Raises ``InputError``."""
    registry = CollectorRegistry()
    registry.register(VaultFigures(socket))
    try:
        start_http_server(address[1], addr=address[0], registry=registry)
    except OSError as error:
        got = error.strerror or type(error).__name__
        raise InputError("--metrics", "a free HOST:PORT of this machine", got, "choose") from None
