"""Running imports as the commands do, without a terminal."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import typer
from typer.testing import CliRunner, Result

from infomri_core.commands.data import data_app
from infomri_core.data.importing.volume import Frame, Journal, Volume

app = typer.Typer()
app.add_typer(data_app, name="data")


def call(*arguments: object) -> Result:
    """``infomri data ..``; errors of input are left to raise."""
    outcome = CliRunner().invoke(app, ["data", *map(str, arguments)])
    if outcome.exception is not None and not isinstance(outcome.exception, SystemExit):
        raise outcome.exception
    return outcome


def bring(kind: str, folder: Path, out: Path, *options: object) -> dict[str, np.ndarray]:
    """Import, and the archive's columns."""
    secret = out.parent / "site.secret"
    done = call("import", kind, folder, "--out", out, "--secret", secret, *options)
    assert done.exit_code == 0, done.output
    return columns(out)


def columns(path: Path) -> dict[str, np.ndarray]:
    """All columns of an archive; text as text."""
    with h5py.File(path) as file:
        return {
            name: (data.asstr()[:] if data.dtype.kind == "O" else data[:])
            for name, data in file.items()
        }


def images_of(scan: Callable[..., list[Volume]], *arguments: Any, scratch: Path) -> list[Any]:
    """What a reader's volumes hold, in order: an image or the reason for its absence."""
    volumes = scan(*arguments, Journal(), lambda: None)
    results = [result for volume in volumes for result in volume.read(scratch)]
    return [r.image if isinstance(r, Frame) else r.reason for r in results]


class Quiet:
    """Progress that nobody watches."""

    def phase(self, name: str, *, unit: str, total: int | None = None) -> Any:
        return nullcontext(lambda n=1: None)
