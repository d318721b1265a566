"""Finding the MLflow store that a command speaks of, and models in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fl_server.tracking.runs import connect
from infomri_core.machine.sqlite_uri import sqlite_uri
from infomri_core.system.errors import InputError

STORE = "mlflow.db"
REGISTERED = "models:/"


def store_uri(store: str) -> str:
    """MLflow's URI for ``store``: itself, or that of the mlflow.db in or above a folder."""
    if not store:
        remedy = "give --store URI or a run's folder, or set MLFLOW_TRACKING_URI"
        raise InputError("--store", "an MLflow store", "nothing", remedy)
    return store if "://" in store else sqlite_uri(find_store(Path(store)))


def find_store(run: Path) -> Path:
    """The MLflow store in ``run`` or in a folder above it. ``InputError`` when there is none."""
    if not run.exists():
        raise InputError(str(run), "the folder of a run", "no such folder", "see runs/")
    for folder in (run.resolve(), *run.resolve().parents[:2]):
        if (folder / STORE).exists():
            return folder / STORE
    raise InputError("--run", f"a folder with {STORE}", str(run), "give the folder of a demo")


@contextmanager
def opened(store: str) -> Iterator[Any]:
    """A client of ``store``; what MLflow refuses becomes an ``InputError``."""
    uri = store_uri(store)
    client = connect(uri)
    from mlflow.exceptions import MlflowException

    try:
        yield client
    except MlflowException as error:
        got = (str(error).strip().splitlines() or [repr(error)])[0][:300]
        raise InputError(uri, "what was asked of it", got, "see `infomri model list`") from None


def local_model(model: str, store: str) -> Path:
    """The path that ``model`` names, or the folder a registered model is copied to.

    Raises ``InputError`` when there is no such model, version or alias.
    """
    if not model.startswith(REGISTERED):
        return Path(model)
    name, at, version = model.removeprefix(REGISTERED).partition("@")
    if not at:
        name, _, version = name.rpartition("/")
    with opened(store) as client:
        from mlflow.artifacts import download_artifacts

        if at:
            version = client.get_model_version_by_alias(name, version).version
        source = client.get_model_version_download_uri(name, version)
        return Path(download_artifacts(source, tracking_uri=store_uri(store)))
