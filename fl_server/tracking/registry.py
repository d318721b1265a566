"""Trained arms in MLflow's model registry: versions, and the aliases ``candidate`` and
``approved``."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infomri_core.results.frontier import Row
from infomri_core.results.metric_names import rows_of
from infomri_core.system.errors import InputError

CANDIDATE, APPROVED = "candidate", "approved"
ARTIFACT = "model"
BY, AT, NOTE = "infomri.approved_by", "infomri.approved_at", "infomri.approval_note"
_PAGE = 200


@dataclass(frozen=True)
class Version:
    """A version of a registered model, its aliases and tags, and the MLflow run it came from."""

    name: str
    version: str
    aliases: tuple[str, ...]
    tags: Mapping[str, str]
    run_id: str
    created: str

    @property
    def uri(self) -> str:
        """What ``infomri diagnose --model`` and ``mlflow models serve -m`` take."""
        return f"models:/{self.name}/{self.version}"


def model_name(study: str, arm: str) -> str:
    """The registered model's name of an arm of a study."""
    return f"{study}.{arm}"


def register(
    client: Any,
    run_id: str,
    name: str,
    folder: str,
    tags: Mapping[str, str],
    description: str = "",
) -> None:
    """Upload the model in ``folder`` and make it the candidate of ``name``, with a
    ``description`` for MLflow's page.

    Doing it twice makes one version: a run has one of each arm. Raises what MLflow raises.
    """
    client.log_artifacts(run_id, folder, ARTIFACT)
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    found = [v for v in _versions(client, f"name = '{name}'") if v.run_id == run_id]
    if found:
        version = found[0].version
    else:
        source = f"{client.get_run(run_id).info.artifact_uri}/{ARTIFACT}"
        made = client.create_model_version(
            name, source, run_id, dict(tags), None, description, await_creation_for=None
        )
        version = made.version
    client.set_registered_model_alias(name, CANDIDATE, version)


def versions(client: Any, name: str = "") -> list[Version]:
    """Versions of all models, or of one, newest first within a model."""
    aliases = _aliases(client)
    found = _versions(client, f"name = '{name}'" if name else "")
    made = [
        Version(
            v.name,
            str(v.version),
            tuple(sorted(aliases.get((v.name, str(v.version)), ()))),
            dict(v.tags),
            v.run_id or "",
            time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(v.creation_timestamp / 1000)),
        )
        for v in found
    ]
    return sorted(made, key=lambda v: (v.name, -int(v.version)))


def version_of(client: Any, name: str, version: str) -> Version:
    """One version of a model. ``InputError`` that lists the versions for an unknown one."""
    known = versions(client, name)
    for one in known:
        if one.version == version:
            return one
    got = f"{name} version {version}"
    listed = ", ".join(v.version for v in known) or "none"
    remedy = f"its versions: {listed}; `infomri model list` shows all models"
    raise InputError("infomri model", "a registered version", got, remedy)


def rows_of_version(client: Any, version: Version) -> list[Row]:
    """The frontier's rows of the arm that a version is, out of its MLflow run; [] where that is
    gone."""
    if not version.run_id:
        return []
    data = client.get_run(version.run_id).data
    arm = Row(
        arm=data.tags.get("infomri.arm", version.name),
        sampler=data.params.get("sampler", "unknown"),
        suppression=data.params.get("suppression", "none"),
        beta=float(data.params.get("beta", 0.0)),
        seed=int(data.params.get("seed", 0)),
        acceleration=0.0,
    )
    return rows_of(arm, data.metrics)


def approve(client: Any, name: str, version: str, by: str, note: str = "") -> Version | None:
    """Give ``version`` the alias ``approved``, and say on it who did so and when.

    Returns the version that was approved before. Raises ``InputError`` for an unknown one.
    """
    version_of(client, name, version)
    known = versions(client, name)
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    for key, value in {BY: by, AT: at, NOTE: note}.items():
        client.set_model_version_tag(name, version, key, value)
    client.set_registered_model_alias(name, APPROVED, version)
    return next((v for v in known if APPROVED in v.aliases), None)


def withdraw(client: Any, name: str) -> Version:
    """Take the approval back; the version that had it. ``InputError`` when none had."""
    for version in versions(client, name):
        if APPROVED in version.aliases:
            client.delete_registered_model_alias(name, APPROVED)
            return version
    remedy = "`infomri model list` shows all models"
    raise InputError("infomri model withdraw", "an approved model", name, remedy)


def _versions(client: Any, filter_string: str) -> list[Any]:
    found: list[Any] = []
    token = None
    while True:
        page = client.search_model_versions(filter_string, max_results=_PAGE, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _aliases(client: Any) -> dict[tuple[str, str], set[str]]:
    """Aliases by (model, version); a version found by search does not name its own."""
    aliases: dict[tuple[str, str], set[str]] = {}
    token = None
    while True:
        page = client.search_registered_models(max_results=100, page_token=token)
        for model in page:
            for alias, version in model.aliases.items():
                aliases.setdefault((model.name, str(version)), set()).add(alias)
        token = page.token
        if not token:
            return aliases
