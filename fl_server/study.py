"""Opening a study: the centre's audit set, device and tracker around :class:`rounds.Study`."""

import re
from pathlib import Path

import torch

from fl_server.rounds import Study
from fl_server.settings import CentreSettings
from fl_server.sites import Sites
from fl_server.tracking import Tracker
from infomri_core.data import open_dataset
from infomri_core.device import pick_device
from infomri_core.errors import InputError
from infomri_core.frontier import Row
from infomri_core.plan import Plan


def run_study(plan: Plan, centre: CentreSettings, sites: Sites, run_name: str) -> list[Row]:
    """Run ``plan`` over ``sites``; everything goes to the folder ``run_name`` of the centre.

    A folder of that name with checkpoints is continued. Raises ``StudyFailed``, ``InputError``.
    """
    device = torch.device(pick_device(centre.centre.device))
    if centre.centre.threads:
        torch.set_num_threads(centre.centre.threads)
    directory = run_directory(centre, run_name)
    audit_set = open_dataset(centre.audit.data)
    tracker = Tracker(
        centre.tracking_uri, plan.study.name, plan, run_name, artifacts=centre.artifacts
    )
    try:
        rows = Study(plan, centre, sites, audit_set, directory, tracker, device).run()
    except BaseException:
        tracker.finish("FAILED")
        raise
    tracker.finish("FINISHED")
    return rows


def run_directory(centre: CentreSettings, run_name: str) -> Path:
    """The folder of a run; ``InputError`` for a name that is not one plain folder name."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", run_name):
        raise InputError("run", "letters, digits, - _ .", repr(run_name), "see `infomri status`")
    return centre.centre.directory / run_name
