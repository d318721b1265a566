"""Which part of the complex signal an image shows: magnitude, or phase, real, imaginary, a map.

Only magnitude images are taken: the k-space of anything else is not that of the scan. Vendors and
converters mark the part in many ways; here are the words, and the sign that needs none.
"""

import re
from collections.abc import Iterable

import numpy as np

COMPONENT = "phase, real or imaginary image"
FIELD_MAP = "field or velocity map"
PARAMETRIC = "parametric map or subtraction (ADC, T1, T2, perfusion and the like)"
MASK = "mask or segmentation by its name"
SIGNED = "signed values (phase, real, imaginary or a field map)"

_PARTS = {
    *("P", "PHASE", "PHASEMAP", "PHA", "PHS", "R", "RE", "REAL"),
    *("I", "IM", "IMA", "IMAG", "IMAGINARY"),
}
_MAPS = {
    *("B0", "B0MAP", "B1", "B1MAP", "FIELDMAP", "FMAP", "FREQUENCYMAP", "PHASEDIFF"),
    *("VELOCITY", "VELOCITYMAP", "VELMAP", "FLOWMAP"),
}
_PARAMETRIC = {
    *("ADC", "EADC", "ADCMAP", "FA", "COLFA", "TENSOR", "T1MAP", "T2MAP", "T2STARMAP", "R1MAP"),
    *("R2MAP", "R2STARMAP", "PDMAP", "CBF", "CBV", "RCBF", "RCBV", "MTT", "TTP", "TMAX"),
    *("SUB", "SUBTRACT", "SUBTRACTION"),
}
_MAGNITUDE = {"M", "MAG", "MAGNITUDE", "MODULUS"}
# In a name 'phase' may be a time (arterial phase, multi-phase) or a direction (phase encoding).
# The words are whole ones: BIDS' part-phase ends in art-phase.
_TIMES = re.compile(
    r"(?<![^\W_])"
    r"(arterial|art|venous|portal|delayed|late|early|equilibrium|contrast|hepat\w*|nephro\w*|"
    r"multi|cardiac|single|dual|in|out|opp\w*)[ _.-]*phase|"
    r"phase[ _.-]*(enc\w*|dir\w*)|(in|out|opp)[ _.-]of[ _.-]phase|real[ _.-]*time",
    re.IGNORECASE,
)
_NAME_PARTS = {"ph", "pha", "phase", "phasemap", "real", "imag", "imaginary", "phs"}
_NAME_PARTS |= {"phase1", "phase2"}
_NAME_MAPS = {"fieldmap", "fieldmaphz", "phasediff", "b0map", "b1map", "tb1map", "velocitymap"}
_NAME_MAPS |= {"fmap", "velocity"}
_NAME_PARAMETRIC = {word.lower() for word in _PARAMETRIC} - {"fa", "sub", "tensor"}
_NAME_MASKS = {"mask", "masks", "seg", "dseg", "probseg", "segmentation", "segmentations", "gt"}
_NAME_MASKS |= {"labelmap", "aseg", "aparc", "parcellation", "roi", "rois"}
_UNITS = {
    **dict.fromkeys(("mrad", "rad", "radian", "radians", "milliradian", "deg"), COMPONENT),
    **dict.fromkeys(("mm2/s", "um2/s", "10-6mm2/s", "1/s", "ms", "ml/100g/min"), PARAMETRIC),
    **dict.fromkeys(("hz", "hertz", "ppm", "rad/s", "t", "cm/s", "mm/s", "m/s"), FIELD_MAP),
}

SIGNED_PEAK, SIGNED_SHARE = 0.05, 0.005


def of_types(kinds: Iterable[object]) -> str:
    """Why an image of these types (values of DICOM's ImageType, FrameType or the like) is not
    taken: '' for a magnitude image, and where they say nothing."""
    whole = {re.sub(r"[\s_]+", "", str(kind)).upper() for kind in kinds}
    words = {w for kind in kinds for w in re.split(r"[\s_/]+", str(kind).upper())} | whole
    if words & _MAPS:
        return FIELD_MAP
    if words & _PARAMETRIC:
        return PARAMETRIC
    return COMPONENT if words & _PARTS else ""


def is_magnitude(kinds: Iterable[object]) -> bool:
    """Whether the types name a magnitude image."""
    words = {w for kind in kinds for w in re.split(r"[\s_/]+", str(kind).upper())}
    return bool(words & _MAGNITUDE)


def of_name(name: str) -> str:
    """Why a file or series of this name is not taken, '' when it is.

    Whole words of the name count (``sub-1_phase``, ``T2s_ph``, ``part-imag``). Times and
    directions (``arterial_phase``, ``phase_encoding``) do not.
    """
    words = set(re.split(r"[^a-z0-9]+", _TIMES.sub(" ", name).lower()))
    if words & _NAME_MAPS:
        return "" if words & {"magnitude", "magnitude1", "magnitude2"} else FIELD_MAP
    if words & _NAME_PARAMETRIC:
        return PARAMETRIC
    return COMPONENT if words & _NAME_PARTS else ""


def of_file_name(name: str) -> str:
    """As :func:`of_name`; masks and segmentations, too, often stand beside their images in
    formats that have no other mark (``sub-1_mask``, ``patient001_gt``)."""
    words = set(re.split(r"[^a-z0-9]+", name.lower()))
    return MASK if words & _NAME_MASKS else of_name(name)


def of_unit(unit: object) -> str:
    """Why an image whose values have this unit is not taken, '' when it is."""
    return _UNITS.get(str(unit or "").strip().strip("{}").lower(), "")


def negative_share(values: np.ndarray) -> float:
    """The share of an image's values, real (H, W), that lie below zero by more than
    interpolation's ringing: 5 % of the greatest value."""
    top = float(np.abs(values).max(initial=0.0))
    return float((values < -SIGNED_PEAK * top).mean()) if top > 0 else 0.0
