"""A demo outlives a busy machine: a SuperLink that answers late is asked again while it lives."""

from types import SimpleNamespace
from typing import Any

import pytest

from fl_server.demo import run
from infomri_core.system.errors import InputError

LATE = InputError("127.0.0.1:8000", "a running SuperLink", "the read operation timed out", "wait")


def control(n_late: int) -> Any:
    answers = iter([LATE] * n_late + [SimpleNamespace(finished=True)])

    def state(run_id: str) -> Any:
        answer = next(answers)
        if isinstance(answer, InputError):
            raise answer
        return answer

    return SimpleNamespace(state=state)


def test_a_late_answer_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run.time, "sleep", lambda seconds: None)
    assert run._asked(control(3), "1", SimpleNamespace(alive=lambda: True)).finished


def test_a_superlink_that_is_gone_ends_the_wait() -> None:
    with pytest.raises(InputError, match="timed out"):
        run._asked(control(1), "1", SimpleNamespace(alive=lambda: False))
