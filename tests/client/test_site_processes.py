"""The three processes of a site: what they need, and what their ends mean."""

import re
from pathlib import Path

import pytest

from fl_client.network.endings import Ending
from fl_client.settings import read_settings
from fl_client.supervision.site_processes import site_processes
from fl_server.authority.certificates import SiteOptions, authority, site_kit
from infomri_core.system.errors import InputError
from tests.support.realfederation import wait_for
from tests.support.supervision import impatient, supervise

__all__ = ["impatient"]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    options = SiteOptions("127.0.0.1:8000", "phantom:?seed=1")
    return site_kit(tmp_path / "kit", "north", authority(tmp_path / "ca"), options).settings


def test_a_complete_kit_has_three_parts_and_the_network_side_two(config: Path) -> None:
    settings = read_settings(config)
    names = [p.name for p in site_processes(config, settings)]
    assert names == ["vault", "executor", "supernode"]
    without = site_processes(config, settings, with_vault=False, folder=config.parent / "own")
    assert [p.name for p in without] == ["executor", "supernode"]
    assert all(p.log.is_relative_to(config.parent / "own") for p in without)


def test_no_port_is_chosen_before_the_supernode_starts(config: Path) -> None:
    commands = {p.name: p.command for p in site_processes(config, read_settings(config))}
    for command in commands.values():
        assert not {"--port", "--runtime-api"} & set(command)


@pytest.mark.parametrize(
    ("file", "content", "mode", "expected"),
    [
        ("ca.crt", b"no certificate", 0o644, "a PEM certificate"),
        ("node.key", b"no key", 0o600, "an OpenSSH ECDSA private key"),
        ("node.key", None, 0o644, "mode 0600"),
    ],
)
def test_unusable_credentials_are_refused_before_anything_starts(
    config: Path, file: str, content: bytes | None, mode: int, expected: str
) -> None:
    path = config.parent / file
    if content is not None:
        path.write_bytes(content)
    path.chmod(mode)
    with pytest.raises(InputError, match=expected):
        site_processes(config, read_settings(config))


def test_a_missing_credential_is_named(config: Path) -> None:
    (config.parent / "node.key").unlink()
    with pytest.raises(InputError, match=r"node\.key: expected a readable file"):
        site_processes(config, read_settings(config))


def test_the_courier_s_death_has_the_supernode_started_again(config: Path) -> None:
    listed = {part.name: part for part in site_processes(config, read_settings(config))}
    supernode, executor = listed["supernode"], listed["executor"]
    supernode.event("INFO :      Receiving: train message (ID: 1)")
    executor.event("2026-01-01 12:00:00,000 INFO courier 7 started")
    assert supernode.stuck() is None
    executor.event("2026-01-01 12:00:00,000 WARNING a courier ended with status -9")
    wait_for(lambda: supernode.stuck() is not None, 10)


@pytest.mark.parametrize(
    ("code", "expected", "lasting"),
    [
        (Ending.CERTIFICATE_ENDED, "certificate of .* has ended", False),
        (Ending.UNTRUSTED, "did not sign", True),
        (Ending.NO_TLS, "does not speak TLS", True),
        (Ending.KEY_REFUSED, "another client is connected", False),
        (Ending.UNREACHABLE, "does not answer", False),
    ],
)
def test_an_exit_code_is_told_with_its_remedy_and_nothing_lasts_that_once_stood(
    config: Path, code: int, expected: str, lasting: bool
) -> None:
    settings = read_settings(config)
    supernode = {part.name: part for part in site_processes(config, settings)}["supernode"]
    words = ["[SSL] certificate verify failed", "activate", "address already in use"]
    fault = supernode.fault(code, words)
    assert fault is not None and fault.final is lasting
    assert re.search(expected, fault.sentence)
    assert supernode.event("INFO :      SuperNode ID: 77") is not None
    again = supernode.fault(code, words)
    assert again is not None and not again.final
    assert supernode.fault(1, words) is None


def test_a_courier_that_dies_is_told_and_nothing_else_of_the_executor(config: Path) -> None:
    listed = {part.name: part for part in site_processes(config, read_settings(config))}
    event = listed["executor"].event
    assert event is not None
    told = event("2026-01-01 12:00:00,000 WARNING a courier ended with status -9")
    assert told == "a courier ended with status -9; its task is lost, to be sent again"
    assert event("2026-01-01 12:00:00,000 INFO ready") is None


def test_a_site_waits_for_data_that_are_not_there_yet(config: Path) -> None:
    """A share that is mounted after the machine has started."""
    data = config.parent / "share" / "slices.h5"
    config.write_text(config.read_text().replace("phantom:?seed=1", f"slices:{data}"))
    vault = site_processes(config, read_settings(config))[0]

    def ended(said: list[str]) -> bool:
        if not data.parent.exists() and "no such file" in said[-1]:
            data.parent.mkdir()
            data.write_bytes(b"no HDF5")
        return "HDF5" in said[-1]

    code, said = supervise(vault, until=ended, exits=True)
    assert code == 1
    waiting = [line for line in said if "no such file or folder" in line]
    assert waiting[0].endswith("; starting it again in 0.01 s")
