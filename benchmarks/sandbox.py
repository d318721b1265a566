"""Runs services of ``deploy/compose.yaml`` where no container engine is: namespaces and a chroot.

Of a service it takes what keeps it apart: user, read-only root, tmpfs, volumes, configs, secrets,
``network_mode: none``, environment, command and health check. The root holds this machine's /usr
in place of a base image, the users of the Dockerfile, and a virtual environment as /opt/infomri.
Needs root, util-linux and Linux; resource limits and seccomp profiles are the engine's own.
"""

import os
import re
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from infomri_core.machine import processes

_VARIABLE = re.compile(r"\$\$|\$\{(\w+)(?::-([^}]*))?\}")
_USERS = {"vault": 10001, "courier": 10002, "centre": 10003}
_HOSTS = "127.0.0.1 localhost mlflow postgres dashboard superlink\n"


def read_compose(path: Path, variables: Mapping[str, str]) -> dict[str, Any]:
    """A compose file with its variables filled in and its anchors merged."""

    def fill(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return variables.get(match[1]) or match[2] or ""

    return dict(yaml.safe_load(_VARIABLE.sub(fill, path.read_text("utf-8"))))


@dataclass(frozen=True)
class Engine:
    """``compose`` lies in ``base``; ``folder`` keeps volumes, roots and logs; ``environment`` is
    the virtual environment that the image would hold."""

    compose: Mapping[str, Any]
    base: Path
    folder: Path
    environment: Path
    extra: Mapping[str, str] = field(default_factory=dict)

    def start(self, name: str) -> subprocess.Popen:
        """Start a service; end it with ``processes.stop``."""
        service = self.compose["services"][name]
        script = self._script(name, service["command"])
        apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        if service.get("network_mode") == "none":
            apart.append("--net")
        return processes.start([*apart, "sh", "-euc", script], self.log(name))

    def call(self, name: str, command: list[str]) -> bool:
        """Run a command in a sandbox of its own with a service's mounts; whether it succeeded."""
        apart = ["unshare", "--mount", "--pid", "--fork"]
        line = [*apart, "sh", "-euc", self._script(name, command, "call")]
        return subprocess.run(line, capture_output=True, check=False).returncode == 0

    def healthy(self, name: str) -> bool:
        """Run a service's health check."""
        test = self.compose["services"][name]["healthcheck"]["test"]
        return self.call(name, test[1:] if test[0] == "CMD" else ["sh", "-c", test[1]])

    def log(self, name: str) -> Path:
        """What the service has said."""
        return self.folder / "log" / f"{name}.log"

    def _script(self, name: str, command: list[str], what: str = "root") -> str:
        service, root = self.compose["services"][name], self.folder / what / name
        root.mkdir(parents=True, exist_ok=True)
        (self.folder / "volumes").mkdir(exist_ok=True)
        uid, gid = service["user"].split(":")
        lines = ["mount --make-rprivate /", f"mount -t tmpfs none {root}", f"cd {root}"]
        lines += ["mkdir -p usr proc dev tmp run opt/infomri etc/ssl var/lib"]
        lines += [f"ln -s usr/{d} {d}" for d in ("bin", "sbin", "lib", "lib64")]
        lines += [_bind("/usr", "usr", ro=True), _bind("/etc/ssl", "etc/ssl", ro=True)]
        lines += ["mount --rbind /dev dev", "mount -t proc proc proc", _users(), *_tmpfs(service)]
        lines += [_bind(str(self.environment), "opt/infomri", ro=True)]
        lines += [_bind(str(self.environment), str(self.environment).lstrip("/"), ro=True)]
        lines += self._mounts(service)
        lines += [f"mount -o remount,ro {root}"] if service.get("read_only") else []
        variables = {
            "PATH": "/opt/infomri/bin:/usr/sbin:/usr/bin:/bin",
            "HOME": "/tmp",
            "INFOMRI_LOG": "json",
            "OMP_NUM_THREADS": "1",
            **service.get("environment", {}),
            **self.extra,
        }
        become = f"setpriv --reuid={uid} --regid={gid} --clear-groups --no-new-privs"
        settings = shlex.join(f"{key}={value}" for key, value in variables.items())
        lines += [
            f"exec chroot . {become} --bounding-set=-all env -i -C / {settings} "
            f"{shlex.join(command)}"
        ]
        return "\n".join(lines)

    def _mounts(self, service: Mapping[str, Any]) -> list[str]:
        lines = []
        for text in service.get("volumes", []):
            source, target, *options = text.split(":")
            place = self.base / source if source[0] in "./" else self._volume(source)
            lines.append(_bind(str(place.resolve()), target.lstrip("/"), ro="ro" in options))
        for kind in ("configs", "secrets"):
            for entry in service.get(kind, []):
                one = {"source": entry} if isinstance(entry, str) else entry
                source = self.base / self.compose[kind][one["source"]]["file"]
                target = one.get("target", f"/run/secrets/{one['source']}").lstrip("/")
                lines.append(f"mkdir -p {Path(target).parent} && touch {target}")
                lines.append(_bind(str(source.resolve()), target, ro=True, folder=False))
        return lines

    def _volume(self, name: str) -> Path:
        """A named volume, which belongs to whom the image's folder at its place does."""
        owners = {"socket": "vault", "vault-state": "vault", "courier-state": "courier"}
        place = self.folder / "volumes" / name
        if not place.exists():
            place.mkdir(mode=0o750 if name == "socket" else 0o700)
            os.chown(place, _USERS[owners.get(name, "centre")], 10100)
        return place


def _bind(source: str, target: str, *, ro: bool, folder: bool = True) -> str:
    make = f"mkdir -p {target} && " if folder else ""
    return f"{make}mount --bind {source} {target}" + (
        f" && mount -o remount,bind,ro {target}" if ro else ""
    )


def _tmpfs(service: Mapping[str, Any]) -> list[str]:
    made = [text.partition(":") for text in service.get("tmpfs", [])]
    return [
        f"mkdir -p {path.lstrip('/')} && mount -t tmpfs -o {options or 'mode=1777'} none "
        f"{path.lstrip('/')}"
        for path, _, options in made
    ]


def _users() -> str:
    rows = [f"{name}:x:{uid}:10100::/:/usr/sbin/nologin" for name, uid in _USERS.items()]
    passwd = "\n".join(["root:x:0:0:root:/:/bin/sh", *rows])
    return (
        f"printf '%s\\n' {shlex.quote(passwd)} > etc/passwd\n"
        "printf 'root:x:0:\\ninfomri:x:10100:\\n' > etc/group\n"
        f"printf '%s' {shlex.quote(_HOSTS)} > etc/hosts"
    )
