"""What the study centre tells its Prometheus: runs from their ``events.jsonl``, sites from the
SuperLink. Needs the extra ``metrics``.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, final

from fl_server.operations.control import NodeState
from fl_server.run.events import read_events
from infomri_core.system.errors import InputError

try:
    from prometheus_client import CollectorRegistry, start_http_server
    from prometheus_client.core import GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError:
    remedy = "pip install 'infomri-federated[metrics]'"
    raise InputError("infomri metrics", "the extra 'metrics'", "none", remedy) from None

Nodes = Callable[[], Sequence[NodeState]]
_NEXT_PHASE = {"audit": "evaluate", "evaluate": "finished"}


@final
class CentreFigures(Collector):
    """The newest ``keep`` runs of ``directory``, and the sites that ``nodes`` lists."""

    def __init__(self, directory: Path, nodes: Nodes, keep: int = 20) -> None:
        self._directory = directory
        self._nodes = nodes
        self._keep = keep

    def collect(self) -> Iterator[Metric]:
        """``infomri_superlink_up`` alone where neither runs nor a SuperLink are there."""
        yield from self._sites()
        yield from self._runs()

    def _sites(self) -> Iterator[Metric]:
        up = "infomri_superlink_up"
        try:
            counts = Counter(node.status for node in self._nodes())
        except InputError:
            yield GaugeMetricFamily(up, "Whether the SuperLink answers.", 0)
            return
        yield GaugeMetricFamily(up, "Whether the SuperLink answers.", 1)
        sites = GaugeMetricFamily("infomri_sites", "Sites by status.", labels=["status"])
        for status in ("registered", "online", "offline"):
            sites.add_metric([status], counts[status])
        yield sites

    def _runs(self) -> Iterator[Metric]:
        rounds = _by_run("rounds", "Rounds done.")
        refusals = _by_run("refusals", "Replies that held no answer.")
        last = _by_run("last_event_seconds", "Unix time of the last event.")
        ended = _by_run("finished", "Whether there are results.")
        seconds = _by_run("phase_seconds", "Duration of the last phase of that name.", "phase")
        files = sorted(self._directory.glob("*/events.jsonl"), key=lambda p: p.stat().st_mtime)
        for path in files[-self._keep :]:
            run, (events, _) = path.parent.name, read_events(path)
            kinds = Counter(event["event"] for event in events)
            rounds.add_metric([run], max((e["phase"] for e in events if _is_round(e)), default=0))
            refusals.add_metric([run], kinds["refused"])
            ended.add_metric([run], kinds["finished"] > 0)
            last.add_metric([run], events[-1]["time"] if events else 0.0)
            for phase, duration in phase_seconds(events).items():
                seconds.add_metric([run, phase], duration)
        yield from (rounds, refusals, ended, last, seconds)


def phase_seconds(events: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Seconds of the last phase of each name in a run's events."""
    trained = [event["seconds"] for event in events if _is_round(event)]
    found = {"train": trained[-1]} if trained else {}
    began = {event["event"]: event["time"] for event in events}
    for phase, following in _NEXT_PHASE.items():
        if began.get(following, 0.0) > began.get(phase, float("inf")):
            found[phase] = began[following] - began[phase]
    return found


def _is_round(event: dict[str, Any]) -> bool:
    return bool(event["event"] == "round")


def _by_run(name: str, what: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"infomri_run_{name}", what, labels=["run", *labels])


def serve(figures: CentreFigures, address: tuple[str, int]) -> threading.Thread:
    """Answer scrapes at ``address`` from the thread that is returned. Raises ``InputError``."""
    registry = CollectorRegistry()
    registry.register(figures)
    try:
        _, thread = start_http_server(address[1], addr=address[0], registry=registry)
    except OSError as error:
        got = error.strerror or type(error).__name__
        where = "infomri metrics --port"
        raise InputError(where, "a free HOST:PORT of this machine", got, "choose") from None
    return thread
