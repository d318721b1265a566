"""Sites under watch: the run's events name every answer and silence, and the study is kept."""

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from fl_server.run import checkpoint
from fl_server.run.events import read_events
from fl_server.sites.local import LocalSites
from fl_server.sites.recording import EVENTS, RecordedSites
from infomri_core.audit.adversaries import load_adversaries
from infomri_core.messages import EnrolTask, ErrorReply, SiteReply, SiteTask
from infomri_core.physics.kspace import zero_fill
from infomri_core.results.study_file import NAME, parse_study_file
from infomri_core.system.errors import InputError
from tests.support import small


class Unwell:
    """One site refuses and one says nothing."""

    def online(self) -> list[str]:
        return ["1", "2"]

    def ask(self, task: SiteTask, to: Sequence[str]) -> Iterator[tuple[str, SiteReply]]:
        yield "1", ErrorReply("policy", "this plan was not approved")


def events(directory: Path) -> list[dict]:
    return [json.loads(line) for line in (directory / EVENTS).read_text().splitlines()]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, small.SilentTracker]:
    """A study of one round that was watched."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("watched")
    tracker = small.SilentTracker()
    sites: LocalSites = small.local_sites(folder)
    recorded = RecordedSites(sites, folder / "run", tracker)
    small.study(small.small_plan(rounds=1), recorded, folder, tracker).run()
    return folder / "run", tracker


def test_every_answer_is_told_with_its_size_and_time(run):
    directory, _ = run
    told = [e for e in events(directory) if e["event"] == "answer"]
    assert [(e["site"], e["phase"], e["round"]) for e in told] == [
        (site, phase, number)
        for phase, number in (("enrol", 0), ("train", 1), ("evaluate", 1))
        for site in ("a", "b")
    ]
    trained = [e for e in told if e["phase"] == "train"]
    saved = checkpoint.latest(directory / "checkpoints")
    weights = sum(flat.nbytes for flat in saved.arms.values())
    assert {e["bytes_in"] for e in trained} == {weights}
    assert {e["bytes_out"] for e in trained} == {weights + saved.variance.nbytes}
    assert all(e["n_samples"] > 0 and e["epsilon"] is e["budget"] is None for e in trained)
    assert all(e["seconds"] >= 0 for e in told)


def test_the_bytes_of_a_round_are_those_of_its_answers(run):
    directory, tracker = run
    events, _ = read_events(directory / EVENTS)
    trained = [e for e in events if e["event"] == "answer" and e["phase"] == "train"]
    sums = {key: sum(e[key] for e in trained) for key in ("bytes_out", "bytes_in")}
    assert sums["bytes_in"] > 0
    assert tracker.bytes == {1: sums}


def test_the_study_is_kept_whole(run):
    directory, tracker = run
    kept = parse_study_file((directory / NAME).read_bytes())
    saved = checkpoint.latest(directory / "checkpoints")
    assert (kept.plan_text, kept.round) == (saved.plan_text, 1)
    assert np.array_equal(kept.variance, saved.variance)
    assert {n: a.tobytes() for n, a in kept.arms.items()} == {
        n: a.tobytes() for n, a in saved.arms.items()
    }
    adversaries = load_adversaries(kept.attacks, (32, 32), torch.device("cpu"))
    mask = torch.ones(1, 32, 32)
    y = torch.randn(1, 32, 32, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    assert set(adversaries.attacks) == {"lmmse", "cnn", "zero", "constant", "mean", "centroid"}
    rebuilt = adversaries.attacks["lmmse"].reconstruct(y, mask)
    assert rebuilt.shape == zero_fill(y).shape
    assert {directory / EVENTS, directory / NAME} <= set(tracker.artifacts)


def test_a_refusal_and_a_silence_are_told(tmp_path: Path):
    plan = small.small_plan()
    recorded = RecordedSites(Unwell(), tmp_path, small.SilentTracker())
    list(recorded.ask(EnrolTask(plan.text, time.time() + 1), ["1", "2"]))
    recorded.failed(RuntimeError("nobody left"))
    recorded.failed(SystemExit(0))
    refused, silent, failed, stopped = events(tmp_path)
    assert (refused["site"], refused["refused"]) == (
        "node 1",
        "policy: this plan was not approved",
    )
    assert (silent["event"], silent["site"]) == ("silent", "node 2")
    assert (failed["event"], failed["sentence"]) == ("failed", "nobody left")
    assert "was stopped" in stopped["sentence"]


def test_other_bytes_are_no_study():
    with pytest.raises(InputError, match="finished study"):
        parse_study_file(b"not a study")
