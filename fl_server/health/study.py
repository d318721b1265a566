"""What a study needs at a place: its data, the vault's socket, the tracking store."""

import contextlib
import os
import sqlite3
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from fl_server.health.finding import Finding, ok, problem, warning
from fl_server.health.machine import nearest_folder
from infomri_core.data.base import SliceTable
from infomri_core.machine.proxies import proxy_words
from infomri_core.machine.sqlite_uri import quoted, sqlite_path
from infomri_core.system.errors import InputError

MIN_COHORT = 5
SOCKET_PATH_BYTES = 107
PATIENCE_SECONDS = 5.0


def check_data(uri: str, min_cohort: int = MIN_COHORT) -> Iterator[Finding]:
    """The data open and can be read. Tells counts and shapes, never a patient or a file name."""
    from infomri_core.data import open_dataset

    location = uri.partition(":")[2].partition("?")[0]
    if location and not Path(location).exists():
        yield problem("data", f"{uri}: no such file or folder", "check the path")
        return
    try:
        dataset = open_dataset(uri)
        ends = dataset.images(np.unique([0, len(dataset) - 1]))
    except InputError as error:
        # The error's own words for what came may name patients.
        yield problem(
            "data", f"{uri} does not open: expected {error.expected}", "see docs/data.md"
        )
        return
    except (OSError, MemoryError) as error:
        yield problem("data", f"{uri} cannot be read: {type(error).__name__}", "check the path")
        return
    table, (h, w) = dataset.table, dataset.shape
    n_patients = len(np.unique(table.patients))
    found = f"{n_patients} patients, {len(table)} slices of {h}x{w}"
    if tuple(ends.shape[1:]) != (h, w) or not bool(ends.isfinite().all()):
        yield problem("data", f"{found}, but their images are not finite", "fix the file")
    elif n_patients < min_cohort:
        remedy = "add patients: nothing leaves a site with fewer than its minimum cohort"
        yield warning("data", f"{found}; the minimum cohort is {min_cohort}", remedy)
    else:
        yield ok("data", found)
        yield from _scored(table, min_cohort)
    yield _labels(table.labels, table.label_names, table.split)


def _scored(table: SliceTable, min_cohort: int) -> Iterator[Finding]:
    n_scored = len(np.unique(table.patients[table.split == "val"]))
    if 0 < n_scored < min_cohort:
        found = f"{n_scored} patients to score on (split val); the minimum cohort is {min_cohort}"
        remedy = "a study trains here, but no scores leave: add patients"
        yield warning("data to score on", found, remedy)


def _labels(labels: np.ndarray, names: tuple[str, ...], split: np.ndarray) -> Finding:
    n_train = int((split == "train").sum())
    counts = [f"{name} {int(column.sum())}" for name, column in zip(names, labels.T)]
    found = f"positive slices: {', '.join(counts)}; {n_train} slices to train on"
    parts = [part for part in ("train", "val") if (split == part).any()]
    empty = [
        f"'{name}' in {part}"
        for name, column in zip(names, labels.T)
        for part in parts
        if column[split == part].sum() in (0, (split == part).sum())
    ]
    if empty:
        remedy = "AUROC is undefined there; check the labels or leave these out of the plan"
        return warning("labels", f"{found}; one class only for {', '.join(empty)}", remedy)
    return ok("labels", found)


def check_socket(path: Path) -> Iterator[Finding]:
    """The vault's socket fits the system's limit and its folder can be made or used."""
    length, place = len(os.fsencode(path)), nearest_folder(path.parent)
    remedy = "set [vault] socket in site.toml to a shorter path"
    if not os.access(place, os.W_OK | os.X_OK):
        yield problem("vault socket", f"{place} cannot be written to", "choose another [vault]")
    elif length <= SOCKET_PATH_BYTES:
        yield ok("vault socket", f"{length} bytes, of {SOCKET_PATH_BYTES} allowed")
    elif sys.platform.startswith("linux") and len(os.fsencode(path.name)) <= 80:
        found = f"{length} bytes, over {SOCKET_PATH_BYTES}: reached through its folder"
        yield warning("vault socket", found, remedy)
    else:
        yield problem("vault socket", f"{length} bytes, over {SOCKET_PATH_BYTES}", remedy)


def check_tracking(uri: str) -> Iterator[Finding]:
    """The MLflow store at ``uri`` answers, or can be made."""
    path = sqlite_path(uri)
    if path is not None:
        yield _sqlite_store(path)
    elif uri.startswith(("http://", "https://")):
        yield _tracking_server(uri)
    else:
        remedy = "use sqlite:///FILE or a server's http(s) address"
        yield problem("MLflow", f"'{uri}' is not a store this MLflow serves", remedy)


def _sqlite_store(path: Path) -> Finding:
    place = nearest_folder(path.parent)
    if not os.access(path if path.exists() else place, os.W_OK):
        return problem("MLflow", f"{path} cannot be written to", "check [mlflow] tracking_uri")
    if not path.exists():
        return ok("MLflow", f"{path} will be made")
    try:
        address = f"file:{quoted(path.absolute())}?mode=ro"
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=2)) as store:
            (n_experiments,) = store.execute("select count(*) from experiments").fetchone()
    except sqlite3.Error as error:
        return problem("MLflow", f"{path}: {error}", "move it away, or name another store")
    return ok("MLflow", f"{path}, {n_experiments} experiments")


def _tracking_server(uri: str) -> Finding:
    address = f"{uri.rstrip('/')}/health"
    try:
        with urllib.request.urlopen(address, timeout=PATIENCE_SECONDS) as answer:
            status = int(answer.status)
    except urllib.error.HTTPError as error:
        remedy = "check the address and the credentials in MLFLOW_TRACKING_USERNAME/_PASSWORD"
        return warning("MLflow", f"{uri} answers {error.code}", remedy)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        parts = urlsplit(uri)
        words = proxy_words(parts.hostname or "", parts.scheme)
        remedy = f"start the server; {words}" if words else "start the server"
        return problem("MLflow", f"{uri} does not answer: {reason}", remedy)
    return ok("MLflow", f"{uri} answers {status}")
