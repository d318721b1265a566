"""What the demo studies: its hospitals, its audit set and its plan, for each kind of data."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np
import tomli_w

from infomri_core.data import SliceDataset, open_dataset
from infomri_core.plan.plan import OCTAVES
from infomri_core.system.errors import InputError
from infomri_core.tasks.registry import DEFAULT, demonstration_of, task_class, task_from
from infomri_core.tasks.values import Demonstration

PHANTOM = "phantom:"
PHANTOM_HOSPITALS = {
    "north": "prevalence=0.45&intensity=1.0&seed=11",
    "south": "prevalence=0.30&intensity=1.2&seed=12",
    "east": "prevalence=0.20&intensity=0.85&seed=13",
}
DEALT_HOSPITALS = 3
AUDIT_FRACTION = 0.1
MIN_SECURE = 3
WIDTH = 16
_BARE_SCORES = (
    "updates leave masked, scores do not: this data set has too few patients for noise on them, "
    "and exact sums leave as each site's own groups"
)


@dataclass(frozen=True)
class DemoOptions:
    """What a user may change from the command line; None takes the data's own default.
    ``secure``: under secure aggregation. ``task``: a task's kind. ``keep``: it stays up."""

    width: int | None = None
    rounds: int | None = None
    local_steps: int | None = None
    attack_steps: int | None = None
    seed: int = 0
    min_cohort: int | None = None
    secure: bool = False
    task: str = DEFAULT
    keep: bool = False


@dataclass(frozen=True)
class DemoStudy:
    """A study ready to be provisioned: data URIs by site, the centre's, and the plan's text.
    ``note``: what the options do not protect."""

    sites: dict[str, str]
    audit: str
    plan: str
    min_cohort: int
    cnn_steps: int
    unet_steps: int
    note: str = ""


@dataclass(frozen=True)
class _Schedule:
    """What differs between kinds of data. Chosen for time on 2 cores, not for the figures.
    ``noise``: of scores; switched off for public archives with too few patients for it.
    ``oracle``: whether the best mask is known; it then takes the place of the uniform one.
    ``together``: global momentum, and rates for as many sites as step together: what training of
    few steps in short rounds needs to come to what it would in one place."""

    accelerations: tuple[float, ...]
    ratio_range: tuple[float, float]
    rounds: int
    local_steps: int
    batch_size: int
    cnn_steps: int
    unet_steps: int
    min_cohort: int = 5
    flips: bool = False
    position_band: tuple[float, float] | None = None
    exponent: float = 8.0
    betas: tuple[float, ...] = (0.0, 3e-5, 1e-4)
    noise: bool = True
    oracle: bool = False
    attacks: tuple[str, ...] = ("lmmse", "cnn", "unet")
    together: bool = False


_SCHEDULES = {
    "phantom": _Schedule(
        *((8.0, 32.0, 128.0), (0.0075, 0.16), 24, 6, 32, 150, 150),
        betas=(0.0, 1e-3, 1e-2),
        oracle=True,
        attacks=("lmmse", "unet"),
        together=True,
    ),
    "slices": _Schedule(
        *(OCTAVES[1:], (0.0035, 0.08), 96, 17, 16, 300, 300, 2, True, (0.3, 0.8)),
        exponent=10.0,
        noise=False,
    ),
    "mnist": _Schedule((16.0, 32.0), (0.02, 0.16), 4, 100, 32, 300, 600),
    "qubiq": _Schedule((4.0, 16.0), (0.05, 0.25), 8, 60, 16, 300, 300, 2, True, noise=False),
    "fastmri": _Schedule((8.0, 16.0), (0.02, 0.16), 8, 100, 16, 300, 300, noise=False),
}


_PHANTOM_IMAGES = _Schedule((8.0, 16.0), (0.04, 0.16), 4, 48, 32, 150, 150)
"""Of the phantoms, for tasks that ask for images: the whole dial is one of diagnosis."""


def design(data: str, options: DemoOptions) -> DemoStudy:
    """The demo's study on ``data`` (a URI). Raises ``InputError`` when it cannot be split."""
    kind = data.partition(":")[0]
    if kind not in _SCHEDULES:
        raise InputError(
            "--data",
            f"one of {', '.join(f'{k}:' for k in _SCHEDULES)}",
            repr(data),
            "see docs/data.md",
        )
    if kind == "phantom" and data != PHANTOM:
        remedy = "leave the options out, or name data of your own"
        raise InputError("--data", f"{PHANTOM} alone, of the demo's own hospitals", data, remedy)
    schedule, shown = _SCHEDULES[kind], demonstration_of(options.task)
    if kind == "phantom" and options.task != DEFAULT:
        schedule = _PHANTOM_IMAGES
    if kind == "phantom":
        n = 600 if options.task == DEFAULT else 400
        sites, audit = _phantoms(n) if shown is None else (dict(shown.sites), shown.audit)
    else:
        sites, audit = _shares(data)
    if options.secure and len(sites) < MIN_SECURE:
        got, remedy = f"{len(sites)}: {', '.join(sites)}", "leave --secure out"
        raise InputError("--secure", f"data of {MIN_SECURE} hospitals or more", got, remedy)
    sample = open_dataset(next(iter(sites.values())))
    plan = _plan(kind, sample, len(sites), schedule, options)
    if shown is not None:
        plan = _shown(plan, shown, options)
    shows_alone = options.task == DEFAULT or kind != "phantom"
    if shows_alone and (schedule.noise or not options.secure):
        # What a hospital asks first. Exact scores of one site would say what the masks hide.
        plan["arms"][0]["alone"] = True
    return DemoStudy(
        sites=sites,
        audit=audit,
        plan=tomli_w.dumps(plan),
        min_cohort=options.min_cohort or schedule.min_cohort,
        cnn_steps=options.attack_steps or schedule.cnn_steps,
        unet_steps=options.attack_steps or schedule.unet_steps,
        note=_BARE_SCORES if options.secure and not schedule.noise else "",
    )


def _shown(plan: dict[str, Any], shown: Demonstration, options: DemoOptions) -> dict[str, Any]:
    """``plan`` as the demonstration of a task changes it, but for what a user asked for."""
    found = dict(plan)
    for section, values in shown.sections.items():
        found[section] = {**found.get(section, {}), **values}
    asked = {
        "model": {"width": options.width},
        "training": {"rounds": options.rounds, "local_steps": options.local_steps},
    }
    for section, values in asked.items():
        found[section] |= {name: value for name, value in values.items() if value is not None}
    return found | {"arms": [dict(arm) for arm in shown.arms]}


def with_option(uri: str, option: str) -> str:
    """``uri`` with one more query option."""
    return f"{uri}{'&' if '?' in uri else '?'}{option}"


def _phantoms(n_patients: int) -> tuple[dict[str, str], str]:
    sites = {
        name: f"phantom:?hospital={name}&patients={n_patients}&slices=1&{rest}"
        for name, rest in PHANTOM_HOSPITALS.items()
    }
    return sites, "phantom:?hospital=centre&patients=60&slices=5&prevalence=0.3&seed=99"


def _shares(data: str) -> tuple[dict[str, str], str]:
    """Each hospital's share of a real data set, and the tenth of patients kept for the audit."""
    dataset = open_dataset(data)
    hospitals = _hospitals(dataset)
    if len(hospitals) < 2:
        data = with_option(data, f"hospitals={DEALT_HOSPITALS}")
        hospitals = _hospitals(open_dataset(data))
    share = with_option(data, f"audit_fraction={AUDIT_FRACTION}")
    sites = {
        name: with_option(with_option(share, f"hospital={quote(name)}"), "role=site")
        for name in hospitals
    }
    return sites, with_option(share, "role=audit")


def _hospitals(dataset: SliceDataset) -> list[str]:
    return sorted(str(name) for name in np.unique(dataset.table.hospital) if name)


def _plan(
    kind: str, sample: SliceDataset, n_sites: int, schedule: _Schedule, options: DemoOptions
) -> dict[str, Any]:
    task = task_class(options.task).example(sample)
    arms = _arms(schedule, task_from(task, "task").serves(0.0))
    aggregation: dict[str, Any] = {"secure": True} if options.secure else {}
    if schedule.together:
        aggregation["rate_scale"] = float(n_sites)
    evaluation: dict[str, Any] = {"attacks": list(schedule.attacks), "noise": schedule.noise}
    if schedule.position_band and np.isfinite(sample.table.position).all():
        evaluation["position_band"] = list(schedule.position_band)
    return {
        "study": {"name": _named(kind, options.task), "seed": options.seed},
        "task": task,
        "measurement": {
            "noise_std": 0.02,
            "ratio_range": list(schedule.ratio_range),
            "accelerations": list(schedule.accelerations),
        },
        "model": {"width": options.width or WIDTH},
        "training": {
            "rounds": options.rounds or schedule.rounds,
            "local_steps": options.local_steps or schedule.local_steps,
            "batch_size": schedule.batch_size,
            "flips": schedule.flips,
            "quorum": n_sites,
            "deadline_seconds": 3600.0,
            **({"momentum": "global"} if schedule.together else {}),
        },
        **({"aggregation": aggregation} if aggregation else {}),
        "evaluation": evaluation,
        "arms": arms,
    }


def _named(data: str, task: str) -> str:
    return f"demo-{data}" if task == DEFAULT else f"demo-{data}-{task}"


def _arms(schedule: _Schedule, finds: bool) -> list[dict[str, Any]]:
    """Of a task that ``finds`` something: along beta, beside fixed patterns. Of one that has the
    image only: each sampler once."""
    fixed: list[dict[str, Any]] = [
        {"sampler": "oracle" if schedule.oracle else "uniform", "seed": 0},
        {"sampler": "variable-density", "exponent": schedule.exponent, "seed": 0},
    ]
    if not finds:
        return [arm | {"beta": "-inf"} for arm in ({"sampler": "infomri", "seed": 0}, *fixed)]
    learned = [
        {"sampler": "infomri", "suppression": "marginal", "beta": beta, "seed": 0}
        for beta in schedule.betas
    ]
    return [*learned, *fixed]
