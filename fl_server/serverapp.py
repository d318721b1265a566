"""The ServerApp: the study centre's half of a Flower run, from the installed package.

Its run config holds ``plan``, the plan's text in base64, ``resume``, the name of a run to
continue, and ``operator``, who submitted it (:mod:`fl_server.run.submission`). The study
centre's own settings come from the file that the SuperLink's environment variable
``INFOMRI_CENTRE`` names; they never travel.
"""

import base64
import binascii
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import final

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from flwr.superlink.grid import http_grid

from fl_server.authority.operators import Operator
from fl_server.run.events import EVENTS_LOGGER
from fl_server.run.run_lock import Overtaken
from fl_server.run.submission import KEY, Submission, check_statement, statement
from fl_server.settings import CENTRE_FILE, CentreSettings, read_settings
from fl_server.sites.grid import GridSites, hasten
from fl_server.study.failure import StudyFailed
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from infomri_core.plugins import registry as plugins
from infomri_core.system.errors import InputError
from infomri_core.system.files import check_output, disk_errors_explained

USED = ".submissions"

app = ServerApp()


@final
class PlainFailures(logging.Filter):
    """In Flower's log, failures that say themselves what to do are one sentence: no traceback,
    and no notice of an unhandled exception after it."""

    def __init__(self) -> None:
        super().__init__()
        self._told = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is shown; rewrites the one of such a failure."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, StudyFailed | InputError | Overtaken):
            record.msg, record.args, record.exc_info = "%s", (str(error),), None
            self._told = True
            return True
        return not (self._told and record.getMessage().startswith("Exit Code"))


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the study of the run config over the sites of ``grid``."""
    from fl_server.study.open import run_study

    plugins.allow_installed()
    _set_up_logging()
    hasten(vars(http_grid))
    resume = str(context.run_config.get("resume", ""))
    plan = plan_of(context.run_config) if context.run_config.get("plan") else None
    centre = centre_settings()
    runs = centre.centre.directory
    check_output(runs, "a folder for runs ([centre] directory in centre.toml)")
    submitted = submission_of(context.run_config, centre)
    run_id = str(context.run_id)
    kept = "make room; whole rounds are kept, and resuming the run continues with the next"
    with disk_errors_explained(runs, kept):
        run_study(plan, centre, GridSites(grid), run_id=run_id, resume=resume, submitted=submitted)


def _set_up_logging() -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("infomri").setLevel(logging.INFO)
    logging.getLogger(EVENTS_LOGGER).setLevel(logging.INFO)
    flower = logging.getLogger("flwr")
    flower.propagate = False
    flower.addFilter(PlainFailures())


def run_config(
    plan_text: str, resume: str = "", operator: Operator | None = None
) -> dict[str, str]:
    """The run config that :func:`main` reads, for a plan's text, signed by its ``operator``."""
    signed = "" if operator is None else statement(operator, plan_text, resume)
    plan = base64.b64encode(plan_text.encode()).decode("ascii")
    return {"plan": plan, "resume": resume, KEY: signed}


def submission_of(config: Mapping[str, object], centre: CentreSettings) -> Submission | None:
    """Who submitted the run of ``config``; None where ``centre`` names no authority to hold it
    against. Raises ``InputError`` where it does and no operator signed this submission."""
    authority = centre.operators.authority
    if authority is None:
        return None
    plan = plan_of(config).text if config.get("plan") else ""
    text, resume = str(config.get(KEY, "")), str(config.get("resume", ""))
    return check_statement(text, plan, resume, authority, centre.centre.directory / USED)


def plan_of(config: Mapping[str, object]) -> Plan:
    """The plan in a run config. Raises ``InputError``."""
    try:
        text = base64.b64decode(str(config.get("plan", "")), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        remedy = "submit studies with 'infomri run plan.toml'"
        raise InputError("run config: plan", "a plan in base64", "other text", remedy) from None
    return parse_plan(text, "run config: plan")


def centre_settings() -> CentreSettings:
    """The settings in the file that ``INFOMRI_CENTRE`` names. Raises ``InputError``."""
    path = os.environ.get(CENTRE_FILE, "")
    if not path:
        remedy = f"start flower-superlink with {CENTRE_FILE}=/path/to/centre.toml"
        raise InputError(CENTRE_FILE, "the path of centre.toml", "nothing", remedy)
    return read_settings(Path(path))
