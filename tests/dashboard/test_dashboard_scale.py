"""The first page reads what it shows, however many runs the store holds."""

from typing import Any

import pytest

from dashboard.reading import runs
from tests.support.dashboard_stores import ARMS, crowded

N_RUNS = (runs.NEWEST + 20) * (ARMS + 1)


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return crowded(tmp_path_factory.mktemp("crowd"), N_RUNS)


def test_the_first_page_asks_four_questions_and_gets_no_more_than_it_shows(
    uri: str, monkeypatch: pytest.MonkeyPatch
):
    asked: list[tuple[str, int]] = []
    call = runs._call

    def counted(store: str, question: str, **arguments: Any) -> Any:
        answer = call(store, question, **arguments)
        asked.append((question, len(answer)))
        return answer

    monkeypatch.setattr(runs, "_call", counted)
    study = runs.studies(uri)["crowd"]
    sweeps = runs.sweeps(uri, study)
    found = runs.arms(uri, study, sweeps[0].run_id)
    assert asked == [
        ("search_experiments", 2),
        ("search_runs", 1),
        ("search_runs", runs.NEWEST),
        ("search_runs", ARMS),
    ]
    assert len(found.rows) == 2 * ARMS
    newest = N_RUNS // (ARMS + 1) - 1
    assert [sweep.name for sweep in sweeps[:2]] == [f"crowd-{newest}", f"crowd-{newest - 1}"]
