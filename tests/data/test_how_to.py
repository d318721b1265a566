"""The how-to of a data format: its file is written, its entry added, and its data are opened."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from infomri_core.data import FORMATS, open_dataset
from infomri_core.system.errors import InputError
from tests.support.documentation import ROOT, blocks

PAGE = ROOT / "docs" / "how-to" / "add-a-data-format.md"


def test_a_new_format_is_one_file_and_one_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, example = blocks(PAGE, "python")
    (entry,) = re.findall(r'"stacks": "([\w.:]+)"', PAGE.read_text("utf-8"))
    (tmp_path / "stacks.py").write_text(code, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(FORMATS, "stacks", entry.removeprefix("infomri_core.data."))
    monkeypatch.chdir(tmp_path)
    exec(example, {"np": np, "Path": Path})
    try:
        site, audit = (
            open_dataset(f"stacks:north?role={role}&audit_fraction=0.4")
            for role in ("site", "audit")
        )
        assert len(site) + len(audit) == 36 and site.shape == (32, 32)
        assert not set(site.table.patients) & set(audit.table.patients)
        volume = np.load(tmp_path / "north" / f"{site.table.patients[0]}.npy")
        expected = np.clip(volume[0] / np.percentile(volume, 99.9), 0, 1)
        assert np.allclose(site.images([0])[0], expected)
        for uri, said in (
            ("stacks:north?percentil=90", "did you mean 'percentile'"),
            ("stacks:north?percentile=10", "at least 50"),
            ("stacks:nowhere", "PATIENT.npy files"),
        ):
            with pytest.raises(InputError, match=said):
                open_dataset(uri)
    finally:
        sys.modules.pop("stacks", None)
