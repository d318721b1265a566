"""Who submitted a study stands in its folder, its events, its tracking records and its report."""

from pathlib import Path
from typing import Any

from fl_server.run.events import read_events
from fl_server.run.submission import FILE, Submission, operators_of, record
from fl_server.sites.recording import EVENTS, RecordedSites
from fl_server.tracking.tracker import SPOOL, Tracker
from infomri_core.report.report import render
from tests.support import small


class Nowhere:
    """A study without sites."""

    def online(self) -> list[str]:
        return []


def test_the_operator_stands_in_folder_events_tracking_and_report(tmp_path: Path) -> None:
    centre, plan = small.settings(tmp_path), small.small_plan()
    tracker = Tracker(centre, plan, "run", retry_seconds=3600.0, opens=False)
    sites: Any = Nowhere()
    for name in ("ada", "bob", "ada"):
        record(tmp_path / "run", Submission(name, "00", "2026-11-26T12:00:00+00:00"))
        with (tmp_path / "run" / FILE).open("ab") as torn:
            torn.write(b'{"operator": "e')
    RecordedSites(sites, tmp_path / "run", tracker).submitted("ada")
    (event,), _ = read_events(tmp_path / "run" / EVENTS)
    assert (event["event"], event["operator"]) == ("submitted", "ada")
    assert operators_of(tmp_path / "run") == ["ada", "bob"]
    kept = (tmp_path / "run" / SPOOL).read_text()
    assert '"infomri.operator"' in kept and '"ada"' in kept
    page = render([], {"submitted_by": operators_of(tmp_path / "run")}, {})
    assert "Submitted by" in page and "ada, bob" in page
    tracker.close()
