"""The samplers there are, by the name that a plan's arm has; a new one is added here."""

from typing import Any, cast

from infomri_core.plugins.registry import Registry
from infomri_core.sampling.options import SamplerOptions, Style
from infomri_core.system.config import build
from infomri_core.system.errors import InputError, nearest

_ROOM = "infomri_core.sampling.samplers"
_TURNS = "infomri_core.sampling.sequential"
SAMPLERS = Registry(
    "infomri.samplers",
    {
        "infomri": f"{_ROOM}.infomri:InfoMRI",
        "uniform": f"{_ROOM}.uniform:Uniform",
        "variable-density": f"{_ROOM}.variable_density:VariableDensity",
        "equispaced": f"{_ROOM}.equispaced:Equispaced",
        "gaussian": f"{_ROOM}.gaussian:Gaussian",
        "poisson-disk": f"{_ROOM}.poisson_disk:PoissonDisk",
        "radial": f"{_ROOM}.radial:Radial",
        "spectrum": f"{_ROOM}.spectrum:Spectrum",
        "stored": f"{_ROOM}.stored:Stored",
        "loupe": f"{_ROOM}.loupe:Loupe",
        "puert": f"{_ROOM}.puert:PuertOptions",
        "oracle": f"{_ROOM}.oracle:Oracle",
        "seqmri": f"{_TURNS}.seqmri:SeqMRI",
        "a-dps": f"{_TURNS}.adps:ADPS",
        "pg-mri": f"{_TURNS}.pgmri:PGMRI",
        "fsl-like": f"{_TURNS}.fsl:FSLLike",
    },
)
"""Where each sampler's options are."""


def sampler_class(name: str, where: str = "sampler") -> type[SamplerOptions]:
    """The options of a registered sampler.

    Args:
        name: As a plan's arm has it.
        where: What the error names as the place of the name.

    Raises:
        InputError: Any other name, with the nearest that there is.
    """
    if name not in SAMPLERS:
        hint = SAMPLERS.hint(name) or nearest(name, SAMPLERS) or "choose one"
        raise InputError(where, " | ".join(SAMPLERS), repr(name)[:60], hint)
    return cast(type[SamplerOptions], SAMPLERS.load(name))


def options_from(name: str, table: dict[str, Any], where: str) -> SamplerOptions:
    """The options of a sampler from its arm in a plan.

    Args:
        name: The arm's ``sampler``.
        table: The rest of the arm's keys.
        where: What the error names as the place of the arm.

    Raises:
        InputError: No such sampler, or a key or value that it does not take.
    """
    return build(sampler_class(name, f"{where} sampler"), table, where)


def style_of(name: str) -> Style:
    """How the sampler is drawn; one that is not registered, in a stored result, by its name."""
    return sampler_class(name).style if name in SAMPLERS else Style(name)


def title_of(name: str) -> str:
    """The sampler's name for people."""
    return sampler_class(name).title if name in SAMPLERS else name.replace("-", " ")


def is_yardstick(name: str) -> bool:
    """Whether it is there to be compared with, and no one can choose it for real images."""
    return name in SAMPLERS and sampler_class(name).yardstick


def learns(name: str) -> bool:
    """Whether the sampler has parameters; False for one that is not registered."""
    return name in SAMPLERS and sampler_class(name).learns


def tells_of_patient(name: str) -> bool:
    """Whether the sampler's mask depends on what it measures; False for one that is not
    registered."""
    return name in SAMPLERS and sampler_class(name).of_patient
