"""All that tries to rebuild images in one study, as one value that travels to the sites."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from infomri_core.privacy import attacks
from infomri_core.privacy.attacks import FLOORS, Attack, Ensemble
from infomri_core.privacy.attacks.class_means import ClassMeans
from infomri_core.privacy.attacks.diagnosis import DiagnosisFloor
from infomri_core.privacy.linkage import Likeness
from infomri_core.wire import Arrays

DIAGNOSIS = "diagnosis"
CLASS_MEANS = "class-means"
DIAGNOSES = (DIAGNOSIS, CLASS_MEANS)
LINKAGE = "linkage"
Cell = tuple[str, float]


@dataclass
class Adversaries:
    """Attacks on y by name, and for each (arm, acceleration) what the diagnosis alone gives away:
    by regression on its logits, and, the same for all, by ``class_means``.

    ``likeness`` is what the holder of candidate scans knows; without it nobody is matched. Only
    fixed architectures exist: what travels is arrays, never code.
    """

    attacks: dict[str, Attack] = field(default_factory=dict)
    diagnosis: dict[Cell, DiagnosisFloor] = field(default_factory=dict)
    class_means: ClassMeans | None = None
    likeness: Likeness | None = None

    def reconstruct(
        self, cell: Cell, measurement: torch.Tensor, masks: torch.Tensor, logits: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Each adversary's images (B, H, W) from y (B, H, W) and masks, or from logits (B, K)."""
        alone = {n: a for n, a in self.attacks.items() if not isinstance(a, Ensemble)}
        images = {name: a.reconstruct(measurement, masks) for name, a in alone.items()}
        for name, attack in self.attacks.items():
            if isinstance(attack, Ensemble):
                images[name] = attack.combine(images)
        if self.class_means is not None:
            images[CLASS_MEANS] = self.class_means.reconstruct_from(logits)
        if cell in self.diagnosis:
            images[DIAGNOSIS] = self.diagnosis[cell].reconstruct_from(logits)
        return images

    def to_arrays(self) -> dict[str, dict[str, np.ndarray]]:
        """Arrays by adversary, for an ``evaluate`` task."""
        arrays = {name: dict(attack.to_arrays()) for name, attack in self.attacks.items()}
        if self.diagnosis:
            arrays[DIAGNOSIS] = {
                f"{arm}|{acceleration!r}|{part}": array
                for (arm, acceleration), floor in self.diagnosis.items()
                for part, array in floor.to_arrays().items()
            }
        if self.class_means is not None:
            arrays[CLASS_MEANS] = self.class_means.to_arrays()
        if self.likeness is not None:
            arrays[LINKAGE] = self.likeness.to_arrays()
        return arrays


def load_adversaries(
    arrays: Mapping[str, Arrays], shape: tuple[int, int], device: torch.device
) -> Adversaries:
    """The adversaries in ``arrays``, on ``device``. ``ValueError`` on an unknown name or part."""
    loaded = Adversaries()
    for name, parts in arrays.items():
        if name == DIAGNOSIS:
            loaded.diagnosis = _load_diagnosis(parts, shape, device)
            continue
        if name == CLASS_MEANS:
            loaded.class_means = ClassMeans(shape).load(parts).to(device)
            continue
        if name == LINKAGE:
            loaded.likeness = Likeness.from_arrays(parts, shape).to(device)
            continue
        if name not in (*attacks.ATTACKS, *FLOORS):
            raise ValueError(f"no attack is called {name[:40]!r}")
        attack = attacks.build(name, shape)
        attack.load(parts)
        loaded.attacks[name] = attack.to(device)
    for attack in loaded.attacks.values():
        if isinstance(attack, Ensemble):
            attack.bind(loaded.attacks)
    return loaded


def _load_diagnosis(
    parts: Arrays, shape: tuple[int, int], device: torch.device
) -> dict[Cell, DiagnosisFloor]:
    cells: dict[Cell, dict[str, np.ndarray]] = {}
    for key, array in parts.items():
        arm, acceleration, part = key.split("|")
        cells.setdefault((arm, float(acceleration)), {})[part] = array
    floors = {}
    for cell, arrays in cells.items():
        floors[cell] = DiagnosisFloor(shape)
        floors[cell].load(arrays)
        floors[cell].to(device)
    return floors
