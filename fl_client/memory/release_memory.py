"""What of each patient has ever left as k-space, and whether more may.

The ledger is the memory: every release stands in it with the patients' permanent ids and position
bitmaps, and the union is computed from there. A ledger that does not reach its mark
(:mod:`fl_client.memory.high_water_mark`) releases nothing more. The limit counts positions, not
repetitions of noise.
"""

import base64
import logging
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from fl_client.memory.high_water_mark import HighWaterMark
from fl_client.memory.ledger import Entry, Ledger
from infomri_core.system.errors import Refused

log = logging.getLogger(__name__)


@final
@dataclass(frozen=True)
class Question:
    """Which release: ``study`` by name, ``input`` the sha256 of the whole task, ``key_id`` of the
    site's secret, ``shape`` of k-space."""

    study: str
    input: str
    key_id: str
    shape: tuple[int, int]


@final
class ReleaseMemory:
    """At most ``fraction`` of a patient's k-space positions ever leave, conjugates counted."""

    def __init__(self, ledger: Ledger, mark: HighWaterMark, fraction: float) -> None:
        self._ledger = ledger
        self.mark = mark
        self._fraction = fraction

    def admit(self, question: Question, masks: Mapping[str, np.ndarray]) -> frozenset[str]:
        """Those of the patients ``masks`` (permanent id to (H, W) bool) that may be released.

        The patient's union of all releases over slices, arms, ratios and studies, this one
        included, closed under i -> i*, must have at most ``fraction`` H W points. Raises
        ``Refused``: "released" when the study has released something else before, "ledger" when
        the ledger does not reach its mark, "key" when it was written under another site key.
        """
        self.mark.check()
        if any(entry.recovered.get("lost") for entry in self._ledger.entries()):
            log.error("lines of the ledger are lost, and with them what was released")
            raise Refused("released", "lines of the ledger are lost; this site releases no more")
        entries = [entry for entry in self._ledger.entries() if entry.released]
        check_question(entries, question)
        unions = released_unions(entries)
        limit = int(self._fraction * question.shape[0] * question.shape[1])
        admitted = set()
        for name, mask in masks.items():
            union = closure(mask) | unions.get(name, np.zeros(question.shape, bool))
            if union.sum() <= limit:
                admitted.add(name)
        return frozenset(admitted)


def check_question(entries: list[Entry], question: Question) -> None:
    """One release a study: the same choice, weights and plan as every earlier one."""
    for entry in entries:
        if entry.released["key"] != question.key_id:
            log.error("former releases were made under another site.key: restore it")
            raise Refused("key", "the site's key is not that of its former releases")
        if tuple(entry.released["shape"]) != question.shape:
            log.error("former releases have k-space of shape %s", entry.released["shape"])
            raise Refused("released", "this site released k-space of another shape before")
        if entry.released["study"] == question.study and entry.input != question.input:
            raise Refused("released", "this study has chosen another release at this site before")


def released_unions(entries: list[Entry]) -> dict[str, np.ndarray]:
    """Every patient's released positions (H, W) bool, conjugate partners included."""
    unions: dict[str, np.ndarray] = {}
    for entry in entries:
        shape = tuple(entry.released["shape"])
        for name, text in entry.released["patients"].items():
            mask = closure(unpack_mask(text, shape))
            unions[name] = unions[name] | mask if name in unions else mask
    return unions


def released_record(question: Question, masks: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What the ledger keeps of a release."""
    return {
        "study": question.study,
        "key": question.key_id,
        "shape": list(question.shape),
        "patients": {name: pack_mask(mask) for name, mask in sorted(masks.items())},
    }


def closure(mask: np.ndarray) -> np.ndarray:
    """``mask`` (H, W) with the conjugate partner i* = -i mod (H, W) of each point: for a real
    image its value comes free."""
    shifts = [1 - n % 2 for n in mask.shape]
    return mask | np.roll(mask[::-1, ::-1], shifts, (0, 1))


def pack_mask(mask: np.ndarray) -> str:
    """A bitmap as text."""
    return base64.b64encode(zlib.compress(np.packbits(mask).tobytes(), 9)).decode()


def unpack_mask(text: str, shape: tuple[int, ...]) -> np.ndarray:
    """The bitmap in ``text`` as (H, W) bool."""
    packed = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
    return np.unpackbits(packed, count=shape[0] * shape[1]).astype(bool).reshape(shape)
