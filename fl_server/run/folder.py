"""A run's folder at the study centre: by the run's name, or where somebody points."""

from pathlib import Path

from fl_server.settings import CentreSettings
from infomri_core.plan.plan import Plan
from infomri_core.system.errors import InputError

_INSIDE = ("*", "centre/*")


def run_name(plan: Plan, run_id: str) -> str:
    """The name of a run: its folder at the centre, its MLflow run, what ``--resume`` takes."""
    return f"{plan.study.name}-{run_id}"


def find_run(centre: CentreSettings, resume: str) -> str:
    """The run that ``resume`` means: a run's whole name, or the id at its end."""
    names = [p.parent.name for p in centre.centre.directory.glob("*/checkpoints") if p.is_dir()]
    matches = [n for n in names if n == resume] or [n for n in names if n.endswith(f"-{resume}")]
    if len(matches) != 1:
        known = ", ".join(sorted(names)[-10:]) or "none"
        raise InputError("--resume", "the name of a run", repr(resume), f"runs here: {known}")
    return matches[0]


def folder_with(place: Path, wanted: str) -> Path:
    """``place`` where it holds ``wanted``, else the one folder of a run in it that does, as
    ``infomri train``, a demo or a simulation leave it; ``place`` where none does.

    ``InputError`` that lists the runs where there are several.
    """
    if not place.is_dir() or (place / wanted).exists():
        return place
    inner = {path.parent for inside in _INSIDE for path in place.glob(f"{inside}/{wanted}")}
    found = sorted(inner)
    if len(found) > 1:
        listed = ", ".join(str(path.relative_to(place)) for path in found[-10:])
        remedy = f"name one of its folders: {listed}"
        raise InputError(str(place), "the folder of one run", f"{len(found)} runs", remedy)
    return found[0] if found else place
