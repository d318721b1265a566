"""Which files of a fastMRI folder are opened: volumes, their splits, and who was annotated."""

from pathlib import Path

from infomri_core.data.fastmri import annotations
from infomri_core.system.errors import InputError

SPLIT_FOLDERS = ("train", "val", "test")
ENDINGS = (".h5", ".hdf5")


def find_files(folder: Path) -> list[tuple[Path, str]]:
    """Volumes below ``folder`` and the split whose folder they lie in ('' without); ``InputError``
    when there are none, or some lie beside the split folders."""
    if not folder.is_dir():
        raise InputError(
            str(folder), "a folder of .h5 volumes", "no such folder", "check the path"
        )
    found = [(path, "") for path in _volumes_in(folder)]
    for split in SPLIT_FOLDERS:
        for pattern in (split, f"*_{split}"):
            for inside in sorted(folder.glob(pattern)):
                found += [(path, split) for path in _volumes_in(inside)]
    if not found:
        raise InputError(str(folder), "volumes (*.h5)", "none", "check the path")
    if len({bool(split) for _, split in found}) > 1:
        raise InputError(
            str(folder),
            "volumes in split folders or in the folder itself",
            "both",
            "move the loose volumes into a split folder",
        )
    return found


def _volumes_in(folder: Path) -> list[Path]:
    """Its .h5 files in any spelling, without hidden ones such as macOS's ``._NAME.h5``."""
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in ENDINGS and not path.name.startswith(".") and path.is_file()
    )


def annotated(
    found: list[tuple[Path, str]],
    table: tuple[annotations.Annotation, ...],
    listed: Path | None,
    where: Path,
) -> list[tuple[Path, str]]:
    """Those of the volumes ``found`` that the annotators of ``table`` saw: the names ``listed``,
    or those in the table."""
    if listed is None:
        here = frozenset(path.stem for path, _ in found)
        annotations.check_volumes(table, here, str(where), "the data folder")
        seen = frozenset(a.volume for a in table)
    else:
        seen = annotations.read_file_list(listed)
        annotations.check_volumes(table, seen, str(where), f"the list {listed.name}")
    kept = [(path, split) for path, split in found if path.stem in seen]
    if not kept:
        raise InputError(
            str(where),
            "annotations of the volumes in the folder",
            f"none of {len(found)} ('{found[0][0].stem}' ...)",
            "check that labels and volumes belong together",
        )
    return kept


def file_list(folder: Path, labels: Path, files: str) -> Path | None:
    """The list of annotated volumes: ``files``, else the one beside the table ``labels``."""
    if files:
        return beside(folder, files)
    neighbour = labels.with_name(f"{labels.stem}_file_list.csv")
    return neighbour if neighbour.is_file() else None


def beside(folder: Path, name: str) -> Path:
    """``name`` in the data folder if it is there, else as it stands."""
    inside = folder / Path(name).expanduser()
    return inside if inside.is_file() else Path(name).expanduser()
