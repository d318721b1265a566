"""A run's folder at the study centre, by the run's name."""

from fl_server.settings import CentreSettings
from infomri_core.plan.plan import Plan
from infomri_core.system.errors import InputError


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
