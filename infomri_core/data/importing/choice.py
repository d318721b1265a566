"""Which of a hospital's series a study takes."""

import fnmatch
from dataclasses import dataclass

from infomri_core.system.errors import InputError

PLANES = ("sagittal", "coronal", "axial")
"""By the axis that crosses them, x, y and z of DICOM's patient frame."""
LOCALIZERS = ("*localiz*", "*localis*", "*scout*", "*survey*", "*loc*3*pl*")


@dataclass(frozen=True)
class Choice:
    """``series`` and ``exclude`` are patterns (``*t2*tse*``, any case) on a series' description,
    protocol or sequence name; a plain word stands for any name that contains it. No ``series``
    takes all but localizers. ``plane`` is axial, coronal, sagittal, any, or '' for the only one.
    """

    series: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    plane: str = ""
    modality: str = "MR"

    def check(self) -> None:
        """Refuse an unknown plane (``InputError``)."""
        known = (*PLANES, "any", "")
        if self.plane not in known:
            raise InputError(
                "--plane", f"one of {', '.join(known[:-1])}", self.plane, "choose one"
            )

    def refusal(self, names: tuple[str, ...]) -> str:
        """Why a series with these names is not taken ('' when it is)."""
        if self.series and not _matches(names, self.series):
            return "series not asked for (--series)"
        if _matches(names, self.exclude):
            return "series excluded (--exclude)"
        if not self.series and _matches(names, LOCALIZERS):
            return "localizer"
        return ""


def _matches(names: tuple[str, ...], patterns: tuple[str, ...]) -> bool:
    for pattern in patterns:
        whole = pattern if any(c in pattern for c in "*?[") else f"*{pattern}*"
        if any(fnmatch.fnmatchcase(name.lower(), whole.lower()) for name in names):
            return True
    return False
