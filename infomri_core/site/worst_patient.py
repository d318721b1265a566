"""The patient that attackers rebuild best: written at the site, for the site alone."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np

from infomri_core.plan.plan import Plan
from infomri_core.summaries.metrics import METRICS
from infomri_core.system.files import write_atomically

NOTE = (
    "For this site only: the patient whom each attack rebuilt best, by the mean PSNR of the "
    "patient's slices. Means over patients hide this one. Nothing of this file leaves the site."
)


@final
@dataclass
class WorstPatients:
    """Collects, for each arm, acceleration and attack, the patient rebuilt best.

    ``conceal`` turns a patient's name into what stands in the file.
    """

    conceal: Callable[[str], str]
    found: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self,
        cell: tuple[str, float],
        patients: np.ndarray,
        per_image: Mapping[str, np.ndarray],
    ) -> None:
        """Take in each attack's metrics (n, 4), in the order of ``METRICS``, of the slices of
        ``patients`` (n,)."""
        if len(patients) == 0:
            return
        names, owner = np.unique(patients, return_inverse=True)
        counts = np.bincount(owner)
        for attack, values in per_image.items():
            psnr = np.bincount(owner, values[:, METRICS.index("psnr")]) / counts
            worst = int(psnr.argmax())
            self.found.append(
                {
                    "arm": cell[0],
                    "acceleration": cell[1],
                    "attack": attack,
                    "patient": self.conceal(str(names[worst])),
                    "slices": int(counts[worst]),
                    "psnr": round(float(psnr[worst]), 2),
                    "psnr_mean_of_patients": round(float(psnr.mean()), 2),
                }
            )

    def write(self, directory: Path, plan: Plan) -> Path:
        """Write the report of ``plan`` into ``directory``; returns its path."""
        path = directory / f"worst-patients-{plan.digest[:16]}.json"
        content = {
            "note": NOTE,
            "study": plan.study.name,
            "plan_sha256": plan.digest,
            "worst": self.found,
        }
        write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())
        return path
