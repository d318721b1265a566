"""What series a folder holds, before any is chosen."""

from collections import Counter
from pathlib import Path

from infomri_core.data.importing.choice import Choice
from infomri_core.data.importing.formats.dicom.scan import scan_dicom
from infomri_core.data.importing.volume import Journal
from infomri_core.system.progress import Progress


def list_series(folder: Path, modality: str, progress: Progress) -> list[str]:
    """A line for each name, plane and shape of the DICOM series below ``folder``, most first;
    then what cannot be imported at all, and why."""
    choice, journal = Choice(series=("*",), plane="any", modality=modality), Journal()
    with progress.phase("reading headers", unit="files") as step:
        volumes = scan_dicom(folder, choice, journal, step)
    n_series: Counter[tuple[str, str, tuple[int, int]]] = Counter()
    n_slices: Counter[tuple[str, str, tuple[int, int]]] = Counter()
    for volume in volumes:
        kind = (volume.name or "(no name)", volume.plane, volume.shape)
        n_series[kind] += 1
        n_slices[kind] += len(volume)
    lines = [
        f"{name}: {plane}, {height} x {width}, series {n}, "
        f"slices {n_slices[name, plane, (height, width)]}"
        for (name, plane, (height, width)), n in n_series.most_common()
    ]
    return lines + [f"not taken, {why}: {n}" for why, n in journal.skipped.most_common()]
