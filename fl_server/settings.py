"""``centre.toml``: the study centre's own side of a study. It never travels to a site."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from infomri_core.attacks.registry import ATTACKS, attack_class, takes_steps
from infomri_core.machine.sqlite_uri import anchored, sqlite_uri
from infomri_core.system.config import build, read_toml
from infomri_core.system.errors import InputError
from infomri_core.system.paths import anchored_uri

_WIDTHS = (8, 16, 32, 64)

CENTRE_FILE = "INFOMRI_CENTRE"
"""The environment variable of the SuperLink that names centre.toml."""


@dataclass(frozen=True)
class Centre:
    """Where and on what the study centre computes.

    Args:
        directory: Holds one folder a run.
        device: "auto", "cpu", "cuda" or "mps".
        threads: 0 leaves the number to PyTorch.
        keep_checkpoints: So many newest rounds stay on disk; 0 keeps all.
    """

    directory: Path = Path("runs")
    device: str = "auto"
    threads: int = 0
    keep_checkpoints: int = 3


@dataclass(frozen=True)
class Audit:
    """What attacks are fitted on, and for how long at most.

    Args:
        data: URI of the audit set: patients of the centre's own, never a site's.
        reader_steps: Optimizer steps of the network for full images that says whether lesions stay
            legible; 0 is without.
        unet_width: 64 is the paper's size.
        size_curve: Fits learned attacks on a quarter and half of the set as well, for PSNR against
            its size; other attacks always are.
        attacks: Options of any attack by its name, which go before those.
    """

    data: str
    cnn_steps: int = 400
    unet_steps: int = 1500
    unrolled_steps: int = 1000
    pnp_steps: int = 1500
    reader_steps: int = 150
    unet_width: int = 16
    size_curve: bool = False
    attacks: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def options(self) -> dict[str, dict[str, int]]:
        """What each attack is built with."""
        made = {
            "cnn": {"n_steps": self.cnn_steps},
            "unet": {"n_steps": self.unet_steps, "width": self.unet_width},
            "unrolled": {"n_steps": self.unrolled_steps},
            "pnp": {"n_steps": self.pnp_steps},
        }
        own = {name: made.get(name, {}) | table for name, table in self.attacks.items()}
        return made | own

    def with_steps(self, steps: Mapping[str, int]) -> "Audit":
        """With other optimizer steps by attack, or of the ``reader``. ``InputError`` for a name
        that takes none, and for too few."""
        able = ("reader", *(n for n in ATTACKS if takes_steps(n)))
        for name, number in steps.items():
            if name not in able or number < (name != "reader"):
                expected = f"NAME=N with N >= 1 and NAME one of {', '.join(able)}"
                raise InputError("--steps", expected, f"{name}={number}", "correct it")
        keys = {f"{name}_steps": n for name, n in steps.items() if hasattr(self, f"{name}_steps")}
        own = {name: dict(table) for name, table in self.attacks.items()}
        for name, number in steps.items():
            if name in own or f"{name}_steps" not in keys:
                own.setdefault(name, {})["n_steps"] = number
        return replace(self, attacks=own, **keys)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Mlflow:
    """Where MLflow is.

    Args:
        tracking_uri: '' is a SQLite store in the centre's directory.
        artifacts: Where the store keeps artifacts as files; by default beside it.
    """

    tracking_uri: str = ""
    artifacts: Path | None = None


@dataclass(frozen=True)
class Operators:
    """Who may submit studies.

    Args:
        authority: ca.crt of the federation's folder, with ca.crl beside it. With it, only studies
            run that one of its operators signed.
    """

    authority: Path | None = None


@dataclass(frozen=True)
class Central:
    """Data of the sites that the study centre has, too.

    Args:
        data: URIs of all sites' data: in a demo, a simulation, of public archives. Arms that sites
            train alone are then trained on all of them in one place as well, and stand in the
            results as ``central``.
    """

    data: tuple[str, ...] = ()


@dataclass(frozen=True)
class CentreSettings:
    """All of ``centre.toml``. Make it with :func:`read_settings`."""

    audit: Audit
    centre: Centre = field(default_factory=Centre)
    mlflow: Mlflow = field(default_factory=Mlflow)
    operators: Operators = field(default_factory=Operators)
    central: Central = field(default_factory=Central)

    @property
    def tracking_uri(self) -> str:
        """MLflow's tracking URI, with the default filled in."""
        return self.mlflow.tracking_uri or sqlite_uri(self.centre.directory / "mlflow.db")

    @property
    def artifacts(self) -> Path:
        """Where artifacts go when the tracking store does not take them itself."""
        return self.mlflow.artifacts or self.centre.directory / "artifacts"


def read_settings(path: Path) -> CentreSettings:
    """Read ``centre.toml``; relative paths in it are relative to the file.

    Raises:
        InputError: A missing file, an unknown key or a value out of range.
    """
    settings = build(CentreSettings, read_toml(path), path.name)
    for ok, key, expected, got in _rules(settings):
        if not ok:
            raise InputError(f"{path.name}: {key}", expected, repr(got), "correct it")
    for name, table in settings.audit.attacks.items():
        build(attack_class(name).options_class, table, f"{path.name}: [audit.attacks.{name}]")
    return _anchored(settings, path.resolve().parent)


def _rules(s: CentreSettings) -> list[tuple[bool, str, str, object]]:
    scheme, colon, _ = s.audit.data.partition(":")
    devices = ("auto", "cpu", "cuda", "mps")
    return [
        (
            bool(scheme and colon),
            "[audit] data",
            "a data URI such as phantom:?seed=7 or slices:FILE",
            s.audit.data,
        ),
        (
            all(uri.partition(":")[1] and uri.partition(":")[0] for uri in s.central.data),
            "[central] data",
            "data URIs such as phantom:?seed=7 or slices:FILE",
            s.central.data,
        ),
        *(
            (steps >= least_steps(key), f"[audit] {key}", f"at least {least_steps(key)}", steps)
            for key, steps in vars(s.audit).items()
            if key.endswith("_steps")
        ),
        (s.audit.unet_width in _WIDTHS, "[audit] unet_width", str(_WIDTHS), s.audit.unet_width),
        (
            s.centre.device.split(":")[0] in devices,
            "[centre] device",
            " | ".join(devices),
            s.centre.device,
        ),
        (s.centre.threads >= 0, "[centre] threads", "0 or more", s.centre.threads),
        (
            s.centre.keep_checkpoints >= 0,
            "[centre] keep_checkpoints",
            "0 or more",
            s.centre.keep_checkpoints,
        ),
    ]


def least_steps(key: str) -> int:
    """The fewest optimizer steps that a key of ``[audit]`` may name: a study needs no reader."""
    return 0 if key == "reader_steps" else 1


def _anchored(settings: CentreSettings, base: Path) -> CentreSettings:
    artifacts, authority = settings.mlflow.artifacts, settings.operators.authority
    return replace(
        settings,
        operators=Operators(None if authority is None else base / authority),
        central=Central(tuple(anchored_uri(uri, base) for uri in settings.central.data)),
        centre=replace(settings.centre, directory=base / settings.centre.directory),
        audit=replace(settings.audit, data=anchored_uri(settings.audit.data, base)),
        mlflow=replace(
            settings.mlflow,
            tracking_uri=anchored(settings.mlflow.tracking_uri, base),
            artifacts=None if artifacts is None else base / artifacts,
        ),
    )
