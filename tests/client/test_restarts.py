"""What may pass at a client's start is not taken for final, and its end has no traceback."""

import contextlib
import errno
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fl_client.memory.ledger import Ledger
from fl_client.supervision.site_processes import _vault_fault
from fl_client.supervision.supervisor import Supervisor


def test_a_ledger_that_another_vault_still_has_may_pass(tmp_path: Path) -> None:
    """The vault of a client that was killed takes a moment to die."""
    path = tmp_path / "site.toml"
    text = '[site]\nname = "a"\n[superlink]\naddress = "localhost:1"\ninsecure = true\n'
    path.write_text(text + '[data]\nuri = "phantom:?patients=4&size=16"\n')
    with contextlib.closing(Ledger.open(tmp_path / "state" / "ledger.jsonl")):
        command = [sys.executable, "-m", "fl_client.vault.process", "--config", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    fault = _vault_fault(done.returncode, done.stderr.splitlines())
    assert fault is not None and not fault.final and "one in use" in fault.sentence


def test_a_folder_that_became_read_only_ends_a_client_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    stop = threading.Event()
    stop.set()
    assert Supervisor([], lambda _: None, stop, told=tmp_path / "parts.json").run() == 0
