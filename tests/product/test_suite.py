"""The suite's own support: what it changes of the machine that every test stands on."""

import io
import logging
import sys

import pytest


def test_a_handler_made_in_one_test_writes_to_the_stderr_of_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", first)
    handler, kept = logging.StreamHandler(), io.StringIO()
    given = logging.StreamHandler(kept)
    first.close()
    monkeypatch.setattr(sys, "stderr", second)
    for each in (handler, given):
        each.handle(logging.LogRecord("flwr", logging.INFO, __file__, 1, "said", None, None))
    assert second.getvalue() == "said\n" == kept.getvalue()
