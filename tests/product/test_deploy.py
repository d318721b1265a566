"""The files an installation begins with: programs accept them, and they keep what they promise."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
import typer

import fl_client.cli
import fl_client.settings
import fl_server.cli
import fl_server.settings
from benchmarks.sandbox import read_compose

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = read_compose(DEPLOY / "compose.yaml", {})
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SITE = fl_client.settings.read_settings(DEPLOY / "site.apart.toml")


def targets(service: str, kind: str = "volumes") -> set[str]:
    """Where a service's volumes, configs or secrets are mounted."""
    entries = SERVICES[service].get(kind, [])
    return {e.split(":")[1] if isinstance(e, str) else e["target"] for e in entries}


def unit(name: str) -> dict[str, list[str]]:
    """The settings of a systemd unit, in order."""
    text = (DEPLOY / "systemd" / f"infomri-{name}.service").read_text().replace("\\\n", " ")
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value.strip())
    return found


def accepts(app: typer.Typer, words: list[str]) -> None:
    """Raise ``click.UsageError`` unless the command line knows every option in ``words``."""
    command: click.Command = typer.main.get_command(app)
    context = command.make_context("command", list(words))
    if isinstance(command, click.Group):
        rest = [*context._protected_args, *context.args]
        name, found, rest = command.resolve_command(context, rest) if rest else ("", None, [])
        if found is not None:
            found.make_context(name, rest, parent=context)


def test_the_site_file_shipped_is_one_a_client_reads() -> None:
    settings = fl_client.settings.read_settings(DEPLOY / "site.toml")
    assert settings.policy.approvals == "listed"
    assert settings.superlink.root_certificate == DEPLOY / "ca.crt"


def test_the_centre_file_shipped_is_one_a_server_reads() -> None:
    settings = fl_server.settings.read_settings(DEPLOY / "centre.toml")
    assert settings.centre.directory == DEPLOY / "runs"


def test_the_centre_file_for_containers_sends_to_mlflow_and_keeps_runs_in_its_volume() -> None:
    settings = fl_server.settings.read_settings(DEPLOY / "centre.apart.toml")
    assert settings.tracking_uri == "http://mlflow:5000"
    assert str(settings.centre.directory).startswith("/var/lib/infomri/centre/")
    assert "/var/lib/infomri/centre" in targets("superlink")


def test_the_vault_has_the_data_and_no_network_the_courier_the_reverse() -> None:
    vault, courier = SERVICES["vault"], SERVICES["courier"]
    assert vault["network_mode"] == "none"
    assert not {"networks", "ports", "secrets"} & set(vault)
    assert courier["networks"] == ["outward"]
    assert {"/data", str(SITE.vault.state)} <= targets("vault")
    assert not {"/data", str(SITE.vault.state)} & targets("courier")
    assert targets("vault") & targets("courier") == {"/run/infomri"}
    for path in (SITE.vault.socket_path, SITE.vault.status_path):
        assert path.is_relative_to("/run/infomri")
    assert vault["user"].split(":")[0] != courier["user"].split(":")[0]
    assert vault["environment"]["INFOMRI_REQUIRE_ISOLATION"] == "1"


def test_the_operators_api_is_on_a_loopback_of_the_door_alone() -> None:
    assert "--host=127.0.0.1" in SERVICES["superlink"]["command"]
    assert SERVICES["superlink"]["ports"] == ["443:8443"]
    sharing = {n for n, s in SERVICES.items() if s.get("network_mode") == "service:superlink"}
    assert sharing == {"door", "figures"}


def test_only_the_two_faces_are_published_and_the_desk_on_loopback() -> None:
    published = {
        name: service["ports"] for name, service in SERVICES.items() if "ports" in service
    }
    assert set(published) == {"superlink", "desk"}
    assert all(port.startswith("127.0.0.1:") for port in published["desk"])
    assert {n for n, s in SERVICES.items() if "store" in s.get("networks", [])} == {
        "mlflow",
        "postgres",
    }
    assert all(COMPOSE["networks"][name]["internal"] for name in ("centre", "store"))


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_hardened_limited_watched_and_pinned(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert 0 not in map(int, service["user"].split(":"))
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert service["healthcheck"]["test"]
    assert re.search(r":\d+\.\d+[.\d]*-\w+$", service["image"])
    assert len(service["profiles"]) == 1


def test_secrets_are_files_and_no_variable_holds_one() -> None:
    assert all(set(secret) == {"file"} for secret in COMPOSE["secrets"].values())
    for service in SERVICES.values():
        for key in service.get("environment", {}):
            assert "PASSWORD" not in key or key.endswith("_FILE") or key == "INFOMRI_PASSWORDS"


def test_what_compose_mounts_from_the_repository_is_there() -> None:
    for config in COMPOSE["configs"].values():
        assert (DEPLOY / config["file"]).is_file()


def test_settings_keys_and_certificates_are_mounted_where_the_settings_say() -> None:
    assert SITE.superlink.root_certificate is not None
    assert SITE.superlink.node_key is not None
    keys = {str(SITE.superlink.root_certificate), str(SITE.superlink.node_key)}
    assert targets("courier", "secrets") == keys
    for name in ("vault", "courier"):
        assert targets(name, "configs") == {"/etc/infomri/site.toml"}


def test_the_gpu_is_the_vault_s() -> None:
    gpu = read_compose(DEPLOY / "compose.gpu.yaml", {})["services"]
    assert set(gpu) == {"vault"}
    (device,) = gpu["vault"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]


def command_lines() -> list[list[str]]:
    """Every command of ours in compose file, health checks and units."""
    lines = [s["command"] for s in SERVICES.values() if "command" in s]
    lines += [s["healthcheck"]["test"][1:] for s in SERVICES.values()]
    lines += [shlex.split(unit(name)["ExecStart"][0]) for name in ("vault", "courier")]
    return [[str(word) for word in line] for line in lines]


def test_every_option_that_is_used_exists() -> None:
    apps = {"infomri-client": fl_client.cli.app, "infomri": fl_server.cli.app}
    seen = set()
    for program, *words in command_lines():
        name = Path(program).name
        if name in apps:
            accepts(apps[name], words)
            seen.add(name)
    assert seen == set(apps)
    with pytest.raises(click.UsageError):
        accepts(fl_client.cli.app, ["--config=x", "--no-such-option"])


def test_every_module_that_is_started_exists() -> None:
    started = {line[2] for line in command_lines() if line[1:2] == ["-m"]}
    assert started == {"fl_client.vault.process", "dashboard"}
    for module in started:
        path = ROOT / Path(*module.split("."))
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


def test_the_image_makes_the_users_that_services_and_units_run_as() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    users = {n: u for u, n in re.findall(r"useradd --uid (\d+) --gid infomri .* (\w+) \\", text)}
    group = re.search(r"groupadd --gid (\d+) infomri", text)
    assert group is not None
    for service in ("vault", "courier"):
        assert SERVICES[service]["user"] == f"{users[service]}:{group[1]}"
    assert SERVICES["superlink"]["user"] == f"{users['centre']}:{group[1]}"
    rows = (DEPLOY / "systemd" / "infomri.sysusers").read_text()
    for name in ("vault", "courier"):
        assert f"u infomri-{name} {users[name]}:{group[1]}" in rows
    assert text.splitlines()[-2] == f"USER {users['centre']}:{group[1]}"
    assert SITE.vault.group == "infomri"


def test_the_image_is_made_of_pinned_bases_and_what_the_package_needs() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    assert re.search(r"^ARG PYTHON=\d+\.\d+\.\d+-", text, re.MULTILINE)
    assert (
        re.findall(r"^FROM python:\$\{PYTHON\}", text, re.MULTILINE)
        == ["FROM python:${PYTHON}"] * 2
    )
    sources = {
        s for line in re.findall(r"^COPY (?!--)(.+) \S+$", text, re.M) for s in line.split()
    }
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"}
    assert sources == allowed
    assert all((ROOT / source).exists() for source in sources)


def test_systemd_gives_the_vault_no_network_and_the_courier_no_data() -> None:
    vault, courier = unit("vault"), unit("courier")
    assert vault["PrivateNetwork"] == ["yes"]
    assert vault["RestrictAddressFamilies"] == ["AF_UNIX"]
    assert vault["User"] != courier["User"]
    assert vault["Group"] == courier["Group"] == [SITE.vault.group]
    assert {"-/data", f"-{SITE.vault.state}"} == set(courier["InaccessiblePaths"][0].split())
    assert f"-{SITE.superlink.node_key}" in vault["InaccessiblePaths"][0].split()
    for path in (SITE.vault.socket_path, SITE.vault.status_path):
        assert path.is_relative_to(f"/run/{vault['RuntimeDirectory'][0]}")
    assert f"/var/lib/{vault['StateDirectory'][0]}" == str(SITE.vault.state)
    for part in (vault, courier):
        assert part["NoNewPrivileges"] == part["PrivateTmp"] == ["yes"]
        assert part["ProtectSystem"] == ["strict"]
        assert part["CapabilityBoundingSet"] == [""]


def test_extras_that_are_installed_are_declared_and_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().split()}
    places = [ROOT / "Makefile", DEPLOY / "Dockerfile", *(ROOT / "docs").glob("*.md")]
    told = {
        extra
        for place in places
        for names in re.findall(r"(?:\.|infomri-federated)\[([\w,-]+)\]", place.read_text())
        for extra in names.split(",")
    }
    assert {"metrics", "postgres", "mlflow-auth"} <= told <= set(project["optional-dependencies"])
    assert {"prometheus_client", "psycopg2-binary", "Flask-WTF", "WTForms"} <= pinned
