"""Whose k-space may be released: the site's consent list, read again for every job."""

import logging
from pathlib import Path

import numpy as np

from infomri_core.system.errors import Refused

log = logging.getLogger(__name__)


def read_consent(path: Path | None) -> frozenset[str]:
    """The patient ids in a file, one a line; '#' begins a comment. Without a file, no one.

    Raises ``Refused("consent")`` when the file cannot be read: then nothing is released.
    """
    if path is None:
        return frozenset()
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        log.error("the consent list %s cannot be read: %s", path, error)
        raise Refused("consent", "this site's consent list cannot be read") from None
    return frozenset(line.partition("#")[0].strip() for line in lines) - {""}


def consenting(patients: np.ndarray, consent: frozenset[str]) -> list[str]:
    """Those of ``patients`` (n,), each once and in order, who stand on the list."""
    return sorted(set(patients.astype(str)) & consent)
