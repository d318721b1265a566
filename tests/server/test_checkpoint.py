"""Checkpoints: whole or not there, and never of another plan."""

import logging
from pathlib import Path

import numpy as np
import pytest

from fl_server.run import checkpoint
from fl_server.run.checkpoint import Checkpoint
from infomri_core.system.errors import InputError


def make(round_number: int = 1, plan: str = "plan") -> Checkpoint:
    generator = np.random.default_rng(round_number)
    return Checkpoint(
        plan_text=plan,
        round=round_number,
        arms={"a-s0": generator.normal(size=11).astype(np.float32), "b": np.ones(3, np.float32)},
        variance=generator.uniform(size=(2, 5, 4)).astype(np.float32),
        dropped={"c": "its loss was not finite in round 1"},
        history=[{"round": 1, "ce": 0.25, "arm": "ä"}],
    )


def test_what_was_saved_is_what_is_loaded(tmp_path: Path):
    saved = make(3)
    loaded = checkpoint.load(checkpoint.save(tmp_path, saved))
    assert (loaded.plan_text, loaded.round) == ("plan", 3)
    assert (loaded.dropped, loaded.history) == (saved.dropped, saved.history)
    assert loaded.arms.keys() == saved.arms.keys()
    for name, flat in saved.arms.items():
        assert loaded.arms[name].tobytes() == flat.tobytes()
    np.testing.assert_array_equal(loaded.variance, saved.variance)


def test_the_latest_round_is_taken_and_an_empty_or_absent_folder_has_none(tmp_path: Path):
    assert checkpoint.latest(tmp_path) is None
    assert checkpoint.latest(tmp_path / "absent") is None
    for round_number in (2, 10, 1):
        checkpoint.save(tmp_path, make(round_number))
    found = checkpoint.latest(tmp_path, make().plan_digest)
    assert found is not None
    assert found.round == 10


@pytest.mark.parametrize("harm", ["cut", "empty", "flip", "noise"])
def test_a_torn_file_is_skipped_with_a_warning(tmp_path: Path, harm: str, caplog):
    checkpoint.save(tmp_path, make(1))
    path = checkpoint.save(tmp_path, make(2))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    torn = {"cut": bytes(data[:-9]), "empty": b"", "flip": bytes(data), "noise": b"x" * 4000}
    path.write_bytes(torn[harm])
    with caplog.at_level(logging.WARNING):
        found = checkpoint.latest(tmp_path)
    assert found is not None
    assert found.round == 1
    assert "round-00002" in caplog.text


def test_a_checkpoint_of_another_plan_is_refused(tmp_path: Path):
    checkpoint.save(tmp_path, make(1, plan="one"))
    with pytest.raises(InputError, match="resume with the plan"):
        checkpoint.latest(tmp_path, make(1, plan="two").plan_digest)


def test_only_the_newest_files_are_kept(tmp_path: Path):
    for round_number in range(5):
        checkpoint.save(tmp_path, make(round_number), keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "round-00003.safetensors",
        "round-00004.safetensors",
    ]


def test_a_failed_write_leaves_the_earlier_file_and_no_litter(tmp_path: Path, monkeypatch):
    path = checkpoint.save(tmp_path, make(1))
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(tmp_path, make(1, plan="other"))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
