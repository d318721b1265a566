"""A data set on a device: images held there where they fit, and the task's targets beside them."""

from typing import final

import numpy as np
import torch

from infomri_core.data.base import SliceDataset
from infomri_core.tasks.task import Task
from infomri_core.training.fit import Fetch

RESIDENT_BYTES = 4 * 2**30


@final
class SlicesOnDevice:
    """Images and targets of ``dataset`` on ``device``; up to 4 GiB of each stay there."""

    def __init__(self, dataset: SliceDataset, device: torch.device) -> None:
        self._dataset = dataset
        self._device = device
        self._resident: torch.Tensor | None = None
        self._targets: dict[Task, torch.Tensor] = {}

    def images(self, rows: np.ndarray) -> torch.Tensor:
        """Images (k, H, W) of the given rows."""
        n_bytes = 4 * len(self._dataset) * self._dataset.shape[0] * self._dataset.shape[1]
        if n_bytes > RESIDENT_BYTES:
            return self._dataset.images(rows).to(self._device)
        if self._resident is None:
            self._resident = self._dataset.images(np.arange(len(self._dataset))).to(self._device)
        return self._resident[torch.from_numpy(rows).to(self._device)]

    def fetch(self, task: Task, among: np.ndarray) -> Fetch:
        """What gives images and targets for indices into the rows ``among``."""

        def fetched(batch: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
            rows = among[batch]
            return self.images(rows), self._of_task(task, rows)

        return fetched

    def _of_task(self, task: Task, rows: np.ndarray) -> torch.Tensor:
        if task not in self._targets:
            one = task.no_targets(1)
            n_bytes = one.element_size() * len(self._dataset) * one.numel()
            if n_bytes > RESIDENT_BYTES:
                return task.targets(self._dataset, rows).to(self._device)
            everything = np.arange(len(self._dataset))
            self._targets = {task: task.targets(self._dataset, everything).to(self._device)}
        return self._targets[task][torch.from_numpy(rows).to(self._device)]
