"""What a study lead sees: events become lines, a bar with the time left, and the frontier."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fl_server.operations.control import RunState
from fl_server.run.events import Progress, event_in
from fl_server.study.failure import StudyFailed
from fl_server.terminal.follow_events import Follower
from fl_server.terminal.follow_run import check_resume, follow, refusals
from fl_server.terminal.screen import Screen, Stage, duration
from infomri_core.results.frontier import Row, to_json
from infomri_core.results.table import print_frontier
from infomri_core.system.errors import InputError
from tests.support.rows import row_of

ROW = row_of("uniform-s0", "uniform", 0.0, 0, 8.0, auroc=0.9, psnr={"unet": 15.0}, psnr_prior=13.0)


def console(*, terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=100)


def text_of(shown: Console) -> str:
    assert isinstance(shown.file, io.StringIO)
    return shown.file.getvalue()


def event(kind: str, at: float, **details: Any) -> dict[str, Any]:
    return {"event": kind, "time": at, "sentence": f"{kind} happened", **details}


def log_line(**content: Any) -> str:
    return f"12:00:00 INFO infomri-event {json.dumps(content)}\n"


class FakeControl:
    """A SuperLink whose log comes in the given pieces; an error stands for its absence."""

    def __init__(self, pieces: list[str | InputError], outcome: str = "completed") -> None:
        self._pieces = pieces
        self._outcome = outcome

    def log(self, run_id: str, after: float = 0.0) -> Iterator[tuple[str, float]]:
        while self._pieces:
            piece = self._pieces.pop(0)
            if isinstance(piece, InputError):
                raise piece
            yield piece, after + 1

    def state(self, run_id: str) -> RunState:
        return RunState(run_id, "finished", self._outcome, "", "", "")

    def runs(self, run_id: str | None = None) -> list[RunState]:
        states = {"7": "finished", "8": "running"}
        return [RunState(number, how, "failed", "", "", "") for number, how in states.items()]


GONE = InputError("127.0.0.1:8000", "a running SuperLink", "connection refused", "start it")


def followed(control: FakeControl, now: list[float] | None = None) -> tuple[list[Row], str]:
    shown, clock = console(), now if now is not None else [0.0]

    def sleep(seconds: float) -> None:
        clock[0] += 50.0

    with Screen(shown) as screen:
        rows = follow(control, "7", screen, clock=lambda: clock[0], sleep=sleep)  # type: ignore[arg-type]
    return rows, text_of(shown)


def test_the_time_left_is_the_pace_so_far_times_what_remains():
    stage = Stage("training", 10, began=100.0, done=4, skipped=4)
    assert stage.left(stage.heard) is None
    stage.step(6, at=120.0)
    assert stage.left(stage.heard) == pytest.approx(40.0)
    assert stage.left(stage.heard + 15) == pytest.approx(25.0)
    assert stage.left(stage.heard + 1000) == 0.0
    stage.step(5, at=130.0)
    assert stage.done == 6


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (89, "89 s"), (91, "2 min"), (7500, "2 h 5 min")]
)
def test_durations_are_said_as_people_say_them(seconds: float, text: str):
    assert duration(seconds) == text


def test_without_a_terminal_each_event_is_one_line_and_answers_are_none():
    shown = console()
    with Screen(shown) as screen:
        screen.show(event("start", 1.0, steps=2, run="knee-7"))
        screen.show(event("enrolled", 2.0, site="north"))
        screen.show(event("answer", 9.0, site="north", phase="train"))
        screen.show(event("round", 9.0, phase=1, phases=4, losses={"uniform-s0": {"ce": 0.5}}))
        screen.show(event("results", 10.0, rows=[to_json(ROW)], meta={"study": "knee"}))
    assert text_of(shown).split("\n")[:-1] == [
        f"  {k} happened" for k in ("start", "enrolled", "round")
    ]
    assert (screen.run, len(screen.rows), screen.meta) == ("knee-7", 1, {"study": "knee"})


def test_on_a_terminal_the_arms_losses_and_the_time_left_stand_below():
    shown = console(terminal=True)
    with Screen(shown) as screen:
        screen.show(event("start", 1.0, steps=3))
        screen.show(event("enrolled", 2.0, site="north"))
        screen.show(event("round", 62.0, phase=1, phases=5, losses={"uniform-s0": {"ce": 0.531}}))
        screen._live.refresh()
    text = text_of(shown)
    assert "uniform-s0" in text
    assert "0.531" in text
    assert "2 min left" in text
    assert "33%" in text


def test_a_follower_shows_what_is_written_while_it_watches_and_not_what_was_before(
    tmp_path: Path,
):
    shown, progress = console(), Progress(tmp_path / "run" / "events.jsonl")
    progress.report("start", "first")
    with Follower(tmp_path / "run" / "events.jsonl", shown):
        progress.report("resume", "again")
        progress.report("finished", "last")
    assert text_of(shown) == "  again\n  last\n"


def test_an_event_survives_the_log_and_other_lines_are_none():
    assert event_in(log_line(event="round", time=1.0, sentence="x")) is not None
    assert event_in("12:00:00 INFO round 1/4") is None
    assert event_in("infomri-event {torn") is None
    assert event_in('infomri-event {"event": "round"}') is None


def test_a_log_that_comes_in_torn_pieces_is_read_whole_and_ends_in_rows():
    log = log_line(event="start", time=1.0, sentence="study knee: arms uniform-s0", steps=1)
    log += "12:00:01 INFO study knee: arms uniform-s0\n12:00:02 WARNING node 3 is silent\n"
    log += log_line(event="results", time=2.0, sentence="1 rows", rows=[to_json(ROW)])
    rows, text = followed(FakeControl([log[i : i + 17] for i in range(0, len(log), 17)]))
    assert rows == [ROW]
    assert text.count("study knee") == 1
    assert "node 3 is silent" in text
    shown = console()
    print_frontier(shown, rows, {"study": "knee"})
    assert "0.900" in text_of(shown)


def test_a_superlink_that_goes_away_is_told_and_so_is_its_return():
    _, text = followed(
        FakeControl([GONE, GONE, log_line(event="waiting", time=1.0, sentence="goes on")])
    )
    assert text.count("does not answer") == 1
    assert "connection refused" in text
    assert "the SuperLink is back after 2 min" in text
    assert "goes on" in text


def test_a_superlink_gone_for_too_long_ends_the_wait_and_says_how_to_look_again():
    with pytest.raises(StudyFailed, match="infomri follow 7"):
        followed(FakeControl([GONE] * 9))


def test_a_failed_run_is_resumed_by_the_name_its_checkpoints_have():
    log = log_line(event="resume", time=1.0, sentence="resuming", run="knee-3", steps=4)
    with pytest.raises(StudyFailed, match=r"run 7 failed: .*--resume knee-3"):
        followed(FakeControl([log], outcome="failed"))


def test_a_run_that_failed_before_its_first_checkpoint_is_not_told_to_be_resumed():
    log = log_line(event="enrolled", time=1.0, sentence="site a", site="a")
    with pytest.raises(StudyFailed, match="submit its plan again") as failed:
        followed(FakeControl([log], outcome="failed"))
    assert "--resume" not in str(failed.value)


@pytest.mark.parametrize(
    ("resume", "complaint"), [("knee-9", "it knows: 7, 8"), ("knee-8", "infomri stop 8")]
)
def test_what_cannot_be_resumed_is_found_before_it_is_submitted(resume: str, complaint: str):
    with pytest.raises(InputError, match=complaint):
        check_resume(FakeControl([]), resume)  # type: ignore[arg-type]
    check_resume(FakeControl([]), "knee-7")  # type: ignore[arg-type]


def test_with_the_centre_at_hand_its_checkpoints_decide(tmp_path: Path):
    (tmp_path / "knee-9" / "checkpoints").mkdir(parents=True)
    centre = tmp_path / "centre.toml"
    centre.write_text('[audit]\ndata = "phantom:?seed=1"\n[centre]\ndirectory = "."\n')
    check_resume(FakeControl([]), "knee-9", centre)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="runs here: knee-9"):
        check_resume(FakeControl([]), "knee-7", centre)  # type: ignore[arg-type]


def test_refusals_of_a_run_are_read_from_what_its_log_says_so_far_and_wait_for_no_more() -> None:
    told = [
        event("refused", 1.0) | {"sentence": "round 1: a refused: budget: spent"},
        event("round", 2.0),
        event("refused", 3.0) | {"sentence": "round 1: a refused: budget: spent"},
        event("refused", 4.0) | {"sentence": "round 2: b refused: cohort: too few"},
    ]
    never = InputError("log", "nothing more to be asked", "asked", "read one piece")
    control = FakeControl(["".join(log_line(**e) for e in told), never])
    running, pending = (RunState("8", how, "", "", "", "") for how in ("running", "pending"))
    expected = ["round 1: a refused: budget: spent", "round 2: b refused: cohort: too few"]
    assert refusals(control, running) == expected  # type: ignore[arg-type]
    assert refusals(FakeControl([never]), pending) == []  # type: ignore[arg-type]
