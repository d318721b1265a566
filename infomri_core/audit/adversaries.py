"""All that tries to rebuild images in one study, as one value that travels to the sites."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch

from infomri_core.attacks import registry as attacks
from infomri_core.attacks.base import Attack
from infomri_core.attacks.ensemble import Ensemble
from infomri_core.attacks.floors.class_means import ClassMeans
from infomri_core.attacks.floors.diagnosis import OWN, SHARED, DiagnosisFloor
from infomri_core.attacks.linkage import Likeness
from infomri_core.attacks.registry import FLOORS
from infomri_core.audit.full_image_classifier import READER, FullImageClassifier
from infomri_core.messages.wire import Arrays
from infomri_core.plan.adversary_knowledge import base_name

DIAGNOSIS = "diagnosis"
CLASS_MEANS = "class-means"
DIAGNOSES = (DIAGNOSIS, CLASS_MEANS)
LINKAGE = "linkage"
BREAKDOWNS = ("memory", "error")
Cell = tuple[str, float]

log = logging.getLogger(__name__)


@dataclass
class Adversaries:
    """Attacks on y by name, and for each (arm, acceleration) what the diagnosis alone gives away:
    by regression on its logits, and, the same for all, by ``class_means``.

    ``likeness`` is what the holder of candidate scans knows; without it no one is matched.
    ``reader`` looks for lesions in what was rebuilt; without it no one does. ``failed``: attacks
    that broke down while they were asked, and by what: "memory" or "error". Images that are not
    finite are no breakdown, they are scored (:mod:`infomri_core.site.evaluate`): a network could
    be built to overflow for one patient and no other. Only fixed architectures exist: what travels
    is arrays, never code.
    """

    attacks: dict[str, Attack] = field(default_factory=dict)
    diagnosis: dict[Cell, DiagnosisFloor] = field(default_factory=dict)
    class_means: ClassMeans | None = None
    likeness: Likeness | None = None
    reader: FullImageClassifier | None = None
    failed: dict[str, str] = field(default_factory=dict)

    def reconstruct(
        self, cell: Cell, measurement: torch.Tensor, masks: torch.Tensor, logits: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Each adversary's images (B, H, W) from y (B, H, W) and masks, or from logits (B, K).

        One that breaks down is left out from then on and stands in ``failed``.
        """
        images: dict[str, torch.Tensor] = {}
        alone = {n: a for n, a in self.attacks.items() if not isinstance(a, Ensemble)}
        for name, attack in alone.items():
            self._try(images, name, partial(attack.reconstruct, measurement, masks))
        for name, attack in self.attacks.items():
            if isinstance(attack, Ensemble):
                self._try(images, name, partial(attack.combine, images))
        if self.class_means is not None:
            images[CLASS_MEANS] = self.class_means.reconstruct_from(logits)
        if cell in self.diagnosis:
            images[DIAGNOSIS] = self.diagnosis[cell].reconstruct_from(logits)
        return images

    def _try(
        self, images: dict[str, torch.Tensor], name: str, act: Callable[[], torch.Tensor]
    ) -> None:
        if name in self.failed:
            return
        try:
            rebuilt = act()
        except (torch.OutOfMemoryError, MemoryError):
            self.failed[name] = "memory"
        except (RuntimeError, ArithmeticError, KeyError):
            log.warning("attack %s broke down", name, exc_info=True)
            self.failed[name] = "error"
        else:
            images[name] = rebuilt

    def to_arrays(self) -> dict[str, dict[str, np.ndarray]]:
        """Arrays by adversary, for an ``evaluate`` task."""
        arrays = {name: dict(attack.to_arrays()) for name, attack in self.attacks.items()}
        if self.diagnosis:
            arrays[DIAGNOSIS] = _diagnosis_arrays(self.diagnosis)
        if self.class_means is not None:
            arrays[CLASS_MEANS] = self.class_means.to_arrays()
        if self.likeness is not None:
            arrays[LINKAGE] = self.likeness.to_arrays()
        if self.reader is not None:
            arrays[READER] = self.reader.to_arrays()
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
        if name == READER:
            loaded.reader = FullImageClassifier(shape).load(parts).to(device)
            continue
        if base_name(name) not in (*attacks.ATTACKS, *FLOORS):
            raise ValueError(f"no attack is called {name[:40]!r}")
        attack = attacks.build(base_name(name), shape)
        attack.load(parts)
        loaded.attacks[name] = attack.to(device)
    for attack in loaded.attacks.values():
        if isinstance(attack, Ensemble):
            attack.bind(loaded.attacks)
    return loaded


def _diagnosis_arrays(floors: Mapping[Cell, DiagnosisFloor]) -> dict[str, np.ndarray]:
    """One set of images for all, and each cell's own few numbers."""
    whole = next(iter(floors.values())).to_arrays()
    shared = {part: whole[part] for part in SHARED}
    own = {
        f"{arm}|{acceleration!r}|{part}": floor.to_arrays()[part]
        for (arm, acceleration), floor in floors.items()
        for part in OWN
    }
    return shared | own


def diagnosis_cells(parts: Arrays) -> dict[Cell, dict[str, np.ndarray]]:
    """What is each cell's own in the arrays of the diagnosis floor. ``ValueError`` unless the
    images are one set for all and every cell has the few numbers it may have."""
    cells: dict[Cell, dict[str, np.ndarray]] = {}
    for key, array in parts.items():
        if key not in SHARED:
            arm, acceleration, part = key.split("|")
            cells.setdefault((arm, float(acceleration)), {})[part] = array
    if not set(SHARED) <= set(parts) or not all(set(own) == set(OWN) for own in cells.values()):
        raise ValueError("a diagnosis floor of other parts than it has")
    return cells


def _load_diagnosis(
    parts: Arrays, shape: tuple[int, int], device: torch.device
) -> dict[Cell, DiagnosisFloor]:
    shared = {part: parts[part] for part in SHARED if part in parts}
    floors = {}
    for cell, own in diagnosis_cells(parts).items():
        floors[cell] = DiagnosisFloor(shape).load({**shared, **own}).to(device)
    return floors
