"""``site.toml``: everything a hospital decides. Read with :func:`read_settings`."""

import dataclasses
import grp
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from fl_client.must import Must, Problem, problems
from infomri_core.messages.budget import MAX_EPSILON
from infomri_core.system.config import build, read_toml
from infomri_core.system.errors import InputError
from infomri_core.system.names import SITE_NAME, is_site_name
from infomri_core.system.paths import anchored_uri

JOBS = ("enrol", "moments", "train", "adapt", "evaluate", "release")
_UNBOUNDED = (
    *("max_released_fraction", "max_epsilon", "max_delta", "max_rate"),
    *("report_budget", "image_arms"),
)


@dataclass(frozen=True)
class Site:
    """Who this site is; the name stands in reports and in its dataset card."""

    name: str


@dataclass(frozen=True)
class SuperLink:
    """Where the study centre is: ``address`` is host:port. Without a ``root_certificate`` the
    connection is in clear text, allowed only with ``insecure = true``. ``runtime_port``: where
    SuperNode and executor meet on loopback; without one, a free port at every start."""

    address: str
    root_certificate: Path | None = None
    node_key: Path | None = None
    runtime_port: int | None = None
    insecure: bool = False


@dataclass(frozen=True)
class Data:
    """What to open, as ``infomri_core.data.open_dataset`` understands it."""

    uri: str


@dataclass(frozen=True)
class Vault:
    """Where the vault computes and keeps its state. ``threads`` 0 lets torch choose; ``group``
    names the system group the courier shares when it is another user. At ``socket`` the courier
    brings tasks; at ``status`` the site's own tools ask how the vault is, with the token that lies
    beside it, which no confined process can read."""

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
class Policy:
    """The site's own limits, which hold whatever a plan says.

    Args:
        min_cohort: Patients below which nothing computed from them leaves.
        min_class_cohort: Patients with and without a finding below which its histogram is empty.
        round_to: Counts leave rounded down to multiples of it.
        approvals: "listed" runs only plans whose sha256 stands in the file ``approved``.
        max_inputs: Different inputs that one plan may send for the same job and round; the same
            input again is answered from the cache.
        consent: File of ids, one a line, of patients whose k-space may be released.
        max_released_fraction: Of a patient's positions, with conjugate partners, that may leave.
        count_days: For so long a count that left once leaves unchanged.
        max_epsilon: What all studies together may spend of the privacy of this site's patients, at
            ``max_delta``; with it, plans without ``[privacy]`` are refused.
        max_rate: The largest sampling rate of a plan with ``[privacy]``.
        report_budget: Whether it, and what was spent of it, leave with every update.
        image_arms: Whether plans may have arms that ask for images (beta < 0).
        max_figures: Figures (counts, means, bins of histograms) that all studies together may draw
            from this site's patients in ``figure_days``.
        must: What the site demands of every plan.
        plugins: Packages, ``NAME==VERSION``, whose code may run on the data here.
    """

    min_cohort: int = 5
    min_class_cohort: int = 2
    round_to: int = 5
    approvals: str = "listed"
    approved: Path = Path("approved.txt")
    jobs: tuple[str, ...] = JOBS
    max_rounds: int = 1000
    max_local_steps: int = 10_000
    max_arms: int = 32
    max_width: int = 128
    max_inputs: int = 5
    max_job_seconds: float = 24 * 3600.0
    max_message_mib: int = 2048
    cached_replies: int = 16
    consent: Path | None = None
    max_released_fraction: float = 0.1
    count_days: float = 30.0
    max_epsilon: float | None = None
    max_delta: float = 1e-5
    max_rate: float = 1.0
    report_budget: bool = field(default=False, metadata={"was": "tell_budget"})
    image_arms: bool = False
    max_figures: int = 200_000
    figure_days: float = 365.0
    must: Must = field(default_factory=Must)
    plugins: tuple[str, ...] = ()

    def coarse(self, count: int) -> int:
        """A count as it may leave: rounded down to the site's step."""
        return count - count % self.round_to


@dataclass(frozen=True)
class Secure:
    """Secure aggregation: the ``key`` that the vault signs with, which is not the node's, and the
    list of all sites' public keys that this site trusts (``trusted``)."""

    key: Path | None = None
    trusted: Path | None = None


@dataclass(frozen=True)
class Kit:
    """The startup kit beside ``site.toml``: every start checks its files against the signatures of
    the ``authority`` (the sha256 of its certificate, hex), but for those in ``own``, which the
    hospital made its own. Without an ``authority`` there is no kit to check."""

    authority: str = ""
    own: tuple[str, ...] = ()


@dataclass(frozen=True)
class SiteSettings:
    """A whole ``site.toml``; every path is absolute after :func:`read_settings`. ``datasets``:
    further data sets by name, each with a state of its own; an approval names the one that a plan
    may see, and without a name that is ``data``."""

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
