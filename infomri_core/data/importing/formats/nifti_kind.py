"""What a NIfTI file holds, told from its name, its BIDS sidecar and its header."""

import json
import re
from pathlib import Path
from typing import Any

from infomri_core.data.importing.component import (
    COMPONENT,
    MASK,
    is_magnitude,
    of_file_name,
    of_types,
    of_unit,
)

SPECTRUM = "MR spectroscopy, not an image"
SIDECAR = "BIDS sidecar that cannot be read: it may say that this is a phase image"
_SPECTRA = re.compile(r"(?i)_(svs|mrsi|unloc|mrsref|mrs)(_|\.|$)")
# NIfTI-1.1: statistics have codes 2 to 24; 1002 labels, 1004 to 1009 matrices, vectors, meshes.
_IMAGE_INTENTS = {0, 1001, 1003, 2001, 2003, 2004, 2016, 2018}


def not_magnitude(path: Path) -> str:
    """Why the file is no magnitude image by its sidecar or its name, '' where neither says so.

    The sidecar is the JSON of the same name. Where it names a magnitude image the file's name is
    not asked; where it cannot be read, nobody knows.
    """
    stem = re.sub(r"(?i)\.nii(\.gz)?$", "", path.name)
    if _SPECTRA.search(stem):
        return SPECTRUM
    if of_file_name(stem) == MASK:
        return MASK
    sidecar = _sidecar(path.with_name(f"{stem}.json"))
    if sidecar is None:
        return SIDECAR
    types = sidecar.get("ImageType")
    values = [str(v) for v in types] if isinstance(types, list) else str(types or "").split("\\")
    component = str(sidecar.get("ComplexImageComponent") or "")
    if component.strip().upper() == "MIXED":
        return COMPONENT
    reason = of_types([component]) or of_types(values[2:] if len(values) > 2 else values)
    reason = reason or of_unit(sidecar.get("Units"))
    if reason or is_magnitude([component, *values]):
        return reason
    return of_file_name(stem)


def not_a_volume(image: Any) -> str:
    """Why a loaded file holds no grey-scale image, '' when it does."""
    if not hasattr(image, "affine") or not hasattr(image, "dataobj"):
        return "not a volume (surface or parcel data)"
    header = image.header
    if b"mrs_v" in bytes(header.get("intent_name", b"")):
        return SPECTRUM
    if any(extension.get_code() == 44 for extension in getattr(header, "extensions", ())):
        return SPECTRUM
    intent = int(header.get("intent_code", 0))
    if intent not in _IMAGE_INTENTS:
        return "not an image (statistics, labels or vectors by the header's intent)"
    return ""


def _sidecar(path: Path) -> dict[str, Any] | None:
    """What a sidecar says, nothing where there is none, None where it is no JSON object."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None
