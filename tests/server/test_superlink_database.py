"""A damaged database of the SuperLink is named, and no study is lost with it."""

from pathlib import Path

import pytest

from fl_server.operations.superlink import DATABASE, SuperLink, SuperLinkOptions
from infomri_core.machine.ports import free_port
from infomri_core.system.errors import InputError


@pytest.mark.parametrize("content", [bytes(4096), b"SQLite format 3\0" + b"\xff" * 4080])
def test_a_superlink_on_a_damaged_database_says_how_to_begin_again(
    tmp_path: Path, content: bytes
) -> None:
    folder = tmp_path / "superlink"
    folder.mkdir()
    (folder / DATABASE).write_bytes(content)
    (tmp_path / "centre.toml").write_text('[audit]\ndata = "phantom:"\n')
    options = SuperLinkOptions(folder, tmp_path / "centre.toml", port=free_port())
    with pytest.raises(InputError, match="a damaged one") as raised, SuperLink(options):
        pass
    assert raised.value.where == str(folder / DATABASE)
    assert "--register" in str(raised.value) and "--resume" in str(raised.value)
