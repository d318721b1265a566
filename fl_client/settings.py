"""``site.toml``: everything a hospital decides. Read with :func:`read_settings`."""

import dataclasses
import grp
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from fl_client.must import Problem, problems
from fl_client.policy_settings import JOBS as JOBS
from fl_client.policy_settings import Policy as Policy
from infomri_core.messages.budget import MAX_EPSILON
from infomri_core.system.config import build, read_toml
from infomri_core.system.errors import InputError
from infomri_core.system.names import SITE_NAME, is_site_name
from infomri_core.system.paths import anchored_uri

_UNBOUNDED = (
    *("max_released_fraction", "max_epsilon", "max_delta", "max_rate"),
    *("report_budget", "image_arms"),
)


@dataclass(frozen=True)
class Site:
    """Who this site is.

    Args:
        name: The site's name in reports and in its dataset card.
    """

    name: str


@dataclass(frozen=True)
class SuperLink:
    """Where the study centre is, and how the site proves who it is.

    Args:
        address: host:port of the SuperLink.
        root_certificate: The authority that its certificate is checked against. Without one the
            connection is in clear text, allowed only with ``insecure``.
        node_key: The site's private key, by which the SuperLink knows it.
        runtime_port: Where SuperNode and executor meet on loopback; without one, a free port at
            every start.
        insecure: Whether clear text is allowed.
    """

    address: str
    root_certificate: Path | None = None
    node_key: Path | None = None
    runtime_port: int | None = None
    insecure: bool = False


@dataclass(frozen=True)
class Data:
    """What to open.

    Args:
        uri: Of a data set, as ``infomri_core.data.open_dataset`` understands it.
    """

    uri: str


@dataclass(frozen=True)
class Vault:
    """Where the vault computes and keeps its state.

    Args:
        device: auto, cpu or cuda:N.
        threads: Of torch; 0 lets it choose.
        state: The folder of ledger, cache and budgets.
        socket: Where the courier brings tasks; by default in ``state``.
        status: Where the site's own tools ask how the vault is, with the token that lies beside
            it, which no confined process can read; by default in ``state``.
        group: The system group that the courier shares when it is another user.
    """

    device: str = "auto"
    threads: int = 0
    state: Path = Path("state")
    socket: Path | None = None
    status: Path | None = None
    group: str | None = None

    @property
    def socket_path(self) -> Path:
        """``socket``, or a file in the state directory."""
        return self.socket or self.state / "run" / "vault.sock"

    @property
    def status_path(self) -> Path:
        """``status``, or a file in the state directory."""
        return self.status or self.state / "status" / "status.sock"

    @property
    def group_id(self) -> int | None:
        """The gid of ``group``; ``InputError`` when the system has no such group."""
        if self.group is None:
            return None
        try:
            return grp.getgrnam(self.group).gr_gid
        except KeyError:
            remedy = "create it, or leave [vault] group out"
            raise InputError("[vault] group", "a group", repr(self.group), remedy) from None


@dataclass(frozen=True)
class Secure:
    """Secure aggregation.

    Args:
        key: The private key that the vault signs with, which is not the node's.
        trusted: The list of all sites' public keys that this site trusts.
    """

    key: Path | None = None
    trusted: Path | None = None


@dataclass(frozen=True)
class Kit:
    """The startup kit beside ``site.toml``, whose files are checked at every start.

    Args:
        authority: The sha256 (hex) of the certificate that signed them; without one there is no
            kit to check.
        own: Files that the hospital made its own, which are not checked.
    """

    authority: str = ""
    own: tuple[str, ...] = ()


@dataclass(frozen=True)
class SiteSettings:
    """A whole ``site.toml``; every path is absolute after :func:`read_settings`.

    Args:
        site: Who this is.
        superlink: Where the study centre is.
        data: What plans may see unless their approval names another data set.
        vault: Where it is computed.
        policy: What is allowed.
        secure: Keys of secure aggregation.
        kit: The startup kit that is checked.
        datasets: Further data sets by name, each with a state of its own; an approval names the
            one that a plan may see.
    """

    site: Site
    superlink: SuperLink
    data: Data
    vault: Vault = field(default_factory=Vault)
    policy: Policy = field(default_factory=Policy)
    secure: Secure = field(default_factory=Secure)
    kit: Kit = field(default_factory=Kit)
    datasets: dict[str, Data] = field(default_factory=dict)

    def exposing(self, name: str) -> "SiteSettings":
        """The settings under which the data set ``name`` is opened; '' is ``data``. Raises
        ``InputError`` for one that the site does not have."""
        if not name:
            return self
        if name not in self.datasets:
            known = ", ".join(self.datasets) or "none"
            remedy = "correct the name, or add [datasets.NAME] to site.toml"
            raise InputError("data set", f"one of {known}", repr(name), remedy)
        state = self.vault.state / "datasets" / name
        socket, status = self.vault.socket_path, self.vault.status_path
        vault = dataclasses.replace(self.vault, state=state, socket=socket, status=status)
        return dataclasses.replace(self, data=self.datasets[name], vault=vault)


T = TypeVar("T", SuperLink, Vault, Policy, Secure)


def read_settings(path: Path) -> SiteSettings:
    """Read and check a ``site.toml``; relative paths are relative to the file.

    Raises ``InputError`` (where, expected, got, remedy).
    """
    settings = build(SiteSettings, read_toml(path), path.name)
    folder = path.resolve().parent
    _check(path.name, settings)
    return dataclasses.replace(
        settings,
        superlink=_resolved(settings.superlink, folder, ("root_certificate", "node_key")),
        data=Data(anchored_uri(settings.data.uri, folder)),
        datasets={
            name: Data(anchored_uri(data.uri, folder)) for name, data in settings.datasets.items()
        },
        vault=_resolved(settings.vault, folder, ("state", "socket", "status")),
        policy=_resolved(settings.policy, folder, ("approved", "consent")),
        secure=_resolved(settings.secure, folder, ("key", "trusted")),
    )


def _resolved(section: T, folder: Path, names: Iterable[str]) -> T:
    paths = {name: getattr(section, name) for name in names}
    return dataclasses.replace(
        section, **{name: folder / value for name, value in paths.items() if value is not None}
    )


def _check(where: str, settings: SiteSettings) -> None:
    link, vault, policy = settings.superlink, settings.vault, settings.policy
    name, uri = settings.site.name, settings.data.uri
    host, _, port = link.address.rpartition(":")
    secured = link.root_certificate is not None or link.insecure
    device = vault.device in ("auto", "cpu") or vault.device.startswith("cuda")
    jobs, runtime = set(policy.jobs) <= set(JOBS), link.runtime_port
    listed = policy.approvals in ("any", "listed")
    rules: list[Problem] = [
        (is_site_name(name), "[site] name", SITE_NAME, name),
        (bool(host) and _is_port(port), "[superlink] address", "host:port", link.address),
        (secured, "[superlink] root_certificate", "a file (or insecure = true)", "none"),
        (runtime is None or 0 < runtime < 65536, "[superlink] runtime_port", "a port", runtime),
        (":" in uri, "[data] uri", "scheme:path, see docs/data.md", uri),
        (device, "[vault] device", "auto, cpu or cuda:N", vault.device),
        (
            vault.status_path.parent != vault.socket_path.parent,
            "[vault] status",
            "a folder other than that of [vault] socket",
            str(vault.status_path),
        ),
        (0 <= vault.threads <= 1024, "[vault] threads", "0 .. 1024", vault.threads),
        (listed, "[policy] approvals", "any or listed", policy.approvals),
        (jobs, "[policy] jobs", f"names out of {', '.join(JOBS)}", policy.jobs),
        (
            0 < policy.max_released_fraction <= 1,
            "[policy] max_released_fraction",
            "0 .. 1",
            policy.max_released_fraction,
        ),
    ]
    authority = settings.kit.authority.lower().replace(":", "")
    pinned = not authority or (len(authority) == 64 and set(authority) <= set("0123456789abcdef"))
    rules += [
        (
            is_site_name(name) and ":" in data.uri,
            f"[datasets.{name}]",
            "a name and a uri",
            data.uri,
        )
        for name, data in settings.datasets.items()
    ]
    rules.append((pinned, "[kit] authority", "a sha256 in hex", authority))
    budget = policy.max_epsilon
    rules += [
        (budget is None or 0 < budget <= MAX_EPSILON, "[policy] max_epsilon", "0 .. 10^6", budget),
        (
            not policy.report_budget or budget is not None,
            "[policy] max_epsilon",
            "a budget",
            "none",
        ),
        (0 < policy.max_delta < 1, "[policy] max_delta", "0 .. 1", policy.max_delta),
        (0 < policy.max_rate <= 1, "[policy] max_rate", "0 < max_rate <= 1", policy.max_rate),
        *problems(policy.must),
    ]
    for key in [f.name for f in dataclasses.fields(Policy)]:
        value = getattr(policy, key)
        if isinstance(value, int | float) and key not in _UNBOUNDED:
            rules.append(
                (math.isfinite(value) and value >= 1, f"[policy] {key}", "at least 1", value)
            )
    for ok, key, expected, got in rules:
        if not ok:
            raise InputError(f"{where}: {key}", expected, repr(got), "correct it")


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) < 65536
