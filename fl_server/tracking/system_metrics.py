"""How busy the study centre's machine is, under the names of MLflow's system metrics."""

import importlib
import logging
from typing import Any, final

logger = logging.getLogger(__name__)
_MONITORS = {
    "cpu_monitor": "CPUMonitor",
    "disk_monitor": "DiskMonitor",
    "network_monitor": "NetworkMonitor",
    "gpu_monitor": "GPUMonitor",
}


@final
class SystemSampler:
    """Samples of MLflow's own monitors, those that work on this machine.

    A GPU needs ``nvidia-ml-py``; where it or a GPU is missing, there are no figures of it.
    """

    def __init__(self) -> None:
        self._monitors = [m for m in map(_monitor, _MONITORS, _MONITORS.values()) if m]
        self._step = 0

    def sample(self) -> tuple[int, dict[str, float]]:
        """The sample's number and its figures now, such as ``system/cpu_utilization_percentage``.

        Never raises: a monitor that fails is left out from then on.
        """
        figures: dict[str, float] = {}
        for monitor in list(self._monitors):
            try:
                monitor.collect_metrics()
                figures |= monitor.aggregate_metrics()
                monitor.clear_metrics()
            except Exception as error:
                logger.info("system metrics: %s is left out: %s", type(monitor).__name__, error)
                self._monitors.remove(monitor)
        self._step += 1
        return self._step, {f"system/{name}": float(v) for name, v in figures.items()}


def _monitor(module: str, name: str) -> Any:
    try:
        found = importlib.import_module(f"mlflow.system_metrics.metrics.{module}")
        return getattr(found, name)()
    except Exception as error:
        logger.info("system metrics: no %s: %s", name, error)
        return None
