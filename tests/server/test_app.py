"""What a study lead reads of a study that failed: one sentence, no traceback."""

import logging
from pathlib import Path

import pytest

from fl_server.operations.control import Control
from fl_server.serverapp import PlainFailures
from fl_server.study.failure import StudyFailed
from infomri_core.system.errors import InputError


def told(error: Exception) -> list[logging.LogRecord]:
    """What is left of what Flower logs about an app that raises ``error``."""
    plain = PlainFailures()
    first = logging.LogRecord(
        "flwr",
        logging.ERROR,
        "",
        0,
        "%s raised an exception",
        ("ServerApp",),
        (type(error), error, None),
    )
    last = logging.LogRecord("flwr", logging.ERROR, "", 0, "Exit Code: 201", (), None)
    return [record for record in (first, last) if plain.filter(record)]


@pytest.mark.parametrize(
    "error", [StudyFailed("quorum of 100% missed"), InputError("plan", "beta", "-1", "fix it")]
)
def test_a_failure_that_says_what_to_do_is_one_sentence(error: Exception):
    (record,) = told(error)
    assert record.getMessage() == str(error)
    assert record.exc_info is None


def test_a_defect_keeps_its_traceback():
    first, last = told(RuntimeError("odd"))
    assert first.exc_info
    assert last.getMessage().startswith("Exit Code")


def test_a_superlink_without_a_name_is_told_where_to_write_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FLWR_HOME", str(tmp_path))
    with pytest.raises(InputError, match=r"config.toml write \[superlink.knees\] with address = "):
        Control.named("knees")


def test_a_run_is_named_by_its_number():
    with (
        Control("127.0.0.1:1", None) as control,
        pytest.raises(InputError, match="infomri status"),
    ):
        control.stop("knees")
