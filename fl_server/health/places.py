"""Which checks a machine, a hospital's site.toml or a study centre's centre.toml call for."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from fl_server.health.finding import Check, Finding, ok, warning
from fl_server.health.machine import (
    check_disk,
    check_packages,
    check_port,
    check_programs,
    check_python,
    check_threads,
    check_torch,
)
from fl_server.health.study import MIN_COHORT, check_data, check_socket, check_tracking
from fl_server.health.trust import (
    check_certificate,
    check_private_key,
    check_secure,
    check_signatures,
    check_superlink,
    split_address,
)
from fl_server.settings import CentreSettings, read_settings
from infomri_core.system.config import read_toml
from infomri_core.system.errors import InputError
from infomri_core.system.paths import anchored_uri


@dataclass(frozen=True)
class SiteFacts:
    """What of a site.toml the checks need; paths are absolute."""

    name: str
    address: str
    root_certificate: Path | None
    node_key: Path | None
    vault_key: Path | None
    trusted: Path | None
    runtime_port: int | None
    uri: str
    device: str
    threads: int
    state: Path
    socket: Path
    min_cohort: int


@dataclass(frozen=True)
class DoctorRequest:
    """What the user named; every part is optional."""

    site: Path | None = None
    centre: Path | None = None
    superlink: str | None = None
    root_certificate: Path | None = None
    data: str | None = None
    federation: Path | None = None


def checks(asked: DoctorRequest) -> list[Check]:
    """All checks that ``asked`` calls for: the machine's own, then those of each place."""
    if asked.superlink is not None:
        split_address(asked.superlink)
    site, site_checks = _site(asked)
    centre, centre_checks = _centre(asked)
    device = site.device if site else centre.centre.device if centre else "auto"
    threads = site.threads if site else centre.centre.threads if centre else 0
    folder = site.state if site else centre.centre.directory if centre else Path.cwd()
    machine: list[Check] = [
        ("Python", check_python),
        ("packages", check_packages),
        ("Flower programs", check_programs),
        ("torch", lambda: check_torch(device)),
        ("threads", lambda: check_threads(threads, os.environ.get("OMP_NUM_THREADS"))),
        ("disk", lambda: check_disk(folder)),
    ]
    return [*machine, *site_checks, *centre_checks, *_others(asked, site)]


def read_site(path: Path) -> SiteFacts:
    """The part of a site.toml that matters here. Raises ``InputError``; `infomri-client` itself
    is stricter."""
    table, folder = read_toml(path), path.resolve().parent
    where = path.name
    link, vault = _section(table, "superlink", where), _section(table, "vault", where)
    site, secure = _section(table, "site", where), _section(table, "secure", where)
    state = folder / _value(vault, "state", str, "state", f"{where}: [vault]")
    socket = _value(vault, "socket", str, "", f"{where}: [vault]")
    in_link = f"{where}: [superlink]"
    uri = _value(_section(table, "data", where), "uri", str, None, f"{where}: [data]")
    return SiteFacts(
        name=_value(site, "name", str, None, f"{where}: [site]"),
        address=_value(link, "address", str, None, in_link),
        root_certificate=_path(folder, _value(link, "root_certificate", str, "", in_link)),
        node_key=_path(folder, _value(link, "node_key", str, "", in_link)),
        vault_key=_path(folder, _value(secure, "key", str, "", f"{where}: [secure]")),
        trusted=_path(folder, _value(secure, "trusted", str, "", f"{where}: [secure]")),
        runtime_port=_value(link, "runtime_port", int, 0, in_link) or None,
        uri=anchored_uri(uri, folder),
        device=_value(vault, "device", str, "auto", f"{where}: [vault]"),
        threads=_value(vault, "threads", int, 0, f"{where}: [vault]"),
        state=state,
        socket=folder / socket if socket else state / "run" / "vault.sock",
        min_cohort=_value(
            _section(table, "policy", where), "min_cohort", int, MIN_COHORT, f"{where}: [policy]"
        ),
    )


def _site(asked: DoctorRequest) -> tuple[SiteFacts | None, list[Check]]:
    if asked.site is None:
        return None, []
    name = asked.site.name
    try:
        site = read_site(asked.site)
    except InputError as error:
        return None, [(name, _raising(error))]
    found: list[Check] = [(name, lambda: [ok(name, "read")])]
    if site.node_key:
        key = site.node_key
        found.append(("node key", lambda: check_private_key(key)))
    else:
        found.append(("node key", lambda: [_no_key()]))
    port, secure_key, trusted = site.runtime_port, site.vault_key, site.trusted
    if port is not None:
        found.append((f"port {port}", lambda: check_port(port)))
    if secure_key is not None and secure_key.exists():
        found.append(("vault key", lambda: check_private_key(secure_key)))
    found.append(("secure aggregation", lambda: check_secure(secure_key, trusted, site.name)))
    config = asked.site
    found.append(("kit", lambda: check_signatures(config, site.name)))
    found.append(("vault socket", lambda: check_socket(site.socket)))
    found.append(("data", lambda: check_data(site.uri, site.min_cohort)))
    return site, found


def _centre(asked: DoctorRequest) -> tuple[CentreSettings | None, list[Check]]:
    if asked.centre is None:
        return None, []
    name = asked.centre.name
    try:
        centre = read_settings(asked.centre)
    except InputError as error:
        return None, [(name, _raising(error))]
    return centre, [
        (name, lambda: [ok(name, "read")]),
        ("disk", lambda: check_disk(centre.centre.directory)),
        ("audit set", lambda: _renamed("audit set", check_data(centre.audit.data, 2))),
        ("MLflow", lambda: check_tracking(centre.tracking_uri)),
    ]


def _others(asked: DoctorRequest, site: SiteFacts | None) -> Iterator[Check]:
    certificate = asked.root_certificate or (site.root_certificate if site else None)
    address = asked.superlink or (site.address if site else None)
    if certificate is not None:
        yield "certificate", lambda: check_certificate(certificate)
    if address is not None:
        yield "SuperLink", lambda: check_superlink(address, certificate)
    if asked.data is not None:
        uri = asked.data
        yield "data", lambda: check_data(uri)
    if asked.federation is not None:
        for name in ("ca/ca.crt", "server/server.crt"):
            yield name, partial(_provisioned, asked.federation / name)
        for path in sorted(asked.federation.glob("operators/*.crt")):
            yield f"operator {path.stem}", partial(_operator, path)


def _provisioned(certificate: Path) -> Iterator[Finding]:
    remedy = "run infomri provision --server HOST again, and restart SuperLink and proxy"
    for finding in check_certificate(certificate):
        yield replace(finding, remedy=remedy if finding.remedy else "")


def _operator(certificate: Path) -> Iterator[Finding]:
    name = certificate.stem
    remedy = f"infomri provision --revoke-operator {name}, then infomri provision operator {name}"
    for finding in check_certificate(certificate):
        yield replace(finding, remedy=remedy if finding.remedy else "")


def _renamed(name: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    for finding in findings:
        check = name if finding.check == "data" else f"{name} {finding.check}"
        yield Finding(check, finding.level, finding.found, finding.remedy)


def _no_key() -> Finding:
    remedy = "name the kit's node.key under [superlink] node_key"
    return warning("node key", "site.toml names none", remedy)


def _raising(error: InputError) -> Any:
    def check() -> list[Finding]:
        raise error

    return check


def _section(table: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    section = table.get(name, {})
    if not isinstance(section, dict):
        raise InputError(f"{where}: {name}", "a table", repr(section), f"write it as [{name}]")
    return section


def _value(section: dict[str, Any], key: str, kind: type, default: Any, where: str) -> Any:
    value = section.get(key, default)
    if value is None:
        raise InputError(where, f"the key '{key}'", "none", "add it")
    if not isinstance(value, kind) or isinstance(value, bool):
        raise InputError(f"{where} {key}", f"a {kind.__name__}", repr(value), "correct it")
    return value


def _path(folder: Path, text: str) -> Path | None:
    return folder / Path(text).expanduser() if text else None
