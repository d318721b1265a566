"""Who takes part in a simulation: data for each of N sites, and an audit set of none of them."""

from dataclasses import dataclass
from urllib.parse import quote

import numpy as np

from fl_server.demo.plan import AUDIT_FRACTION, with_option
from infomri_core.data import SliceDataset, open_dataset
from infomri_core.data.base import SliceTable
from infomri_core.data.uri import DataUri, parse_uri
from infomri_core.plan.plan import Plan
from infomri_core.randomness.seeds import numpy_generator
from infomri_core.system.errors import InputError

MIN_SITES, MAX_SITES = 2, 1000
_AUDIT_PATIENTS = 60
_PREVALENCE, _INTENSITY = (0.2, 0.45), (0.85, 1.2)
_OURS = ("hospital", "hospitals", "role", "split")


@dataclass(frozen=True)
class Hospitals:
    """Data URIs of the sites by name, and of the study centre's audit set."""

    sites: dict[str, str]
    audit: str


def divide(plan: Plan, data: str, n_sites: int, min_cohort: int) -> Hospitals:
    """``data`` (a URI) as ``n_sites`` hospitals for ``plan``.

    Phantoms are made: each site has a seed, a prevalence and a scanner of its own. Other data have
    as many hospitals of their own, or are dealt; a tenth of the patients is kept for the audit.
    Raises ``InputError`` where the plan asks for other data, or a site has fewer patients than
    ``min_cohort`` to train on or to score.
    """
    _check_number(plan, n_sites)
    uri = parse_uri(data)
    fixed = [option for option in _OURS if option in uri.options]
    if fixed:
        remedy = "leave it out: the simulation says who has which patients"
        raise InputError("--data", f"a URI without '{fixed[0]}'", data, remedy)
    if uri.scheme == "phantom":
        made = _phantoms(plan, uri, n_sites)
        sample = open_dataset(next(iter(made.sites.values())))
    else:
        made, sample = _shares(data, n_sites)
    _check_fit(plan, sample, data)
    _check_cohorts(sample.table, min_cohort)
    return made


def _check_number(plan: Plan, n_sites: int) -> None:
    if not MIN_SITES <= n_sites <= MAX_SITES:
        remedy = "`infomri train` is for one site; docs/scaling.md says what many cost"
        raise InputError("--sites", f"{MIN_SITES} .. {MAX_SITES}", str(n_sites), remedy)
    if plan.training.quorum > n_sites:
        expected = f"at least the plan's quorum, {plan.training.quorum}"
        raise InputError("--sites", expected, str(n_sites), "raise it, or lower the quorum")
    if plan.aggregation.secure:
        remedy = "simulate it with secure = false: the same study, trained on other random draws"
        expected = "no secure aggregation, whose keys live in vaults that stay"
        raise InputError("[aggregation] secure", expected, "true", remedy)


def _phantoms(plan: Plan, uri: DataUri, n_sites: int) -> Hospitals:
    base = int(uri.options.get("seed", "0")) if uri.options.get("seed", "0").isdigit() else 0
    common = {"size": str(plan.task.shape[0]), **uri.options}
    sites = {}
    for number in range(1, n_sites + 1):
        name = f"site{number:04d}"
        generator = numpy_generator(plan.study.seed, "simulated hospital", name)
        drawn = {
            "prevalence": f"{generator.uniform(*_PREVALENCE):.2f}",
            "intensity": f"{generator.uniform(*_INTENSITY):.2f}",
        }
        own = {"hospital": name, "seed": str(base + number)}
        sites[name] = _phantom(drawn | common | own)
    audit = {"hospital": "centre", "seed": str(base), "patients": str(_AUDIT_PATIENTS)}
    return Hospitals(sites, _phantom(common | audit))


def _phantom(options: dict[str, str]) -> str:
    return "phantom:?" + "&".join(f"{key}={value}" for key, value in options.items())


def _shares(data: str, n_sites: int) -> tuple[Hospitals, SliceDataset]:
    """The hospitals, and what all sites together have."""
    stored = _names(open_dataset(data).table)
    if len(stored) > 1 and len(stored) != n_sites:
        expected = f"{len(stored)}: the data have hospitals of their own"
        raise InputError("--sites", expected, str(n_sites), "give their number")
    if len(stored) < 2:
        data = with_option(data, f"hospitals={n_sites}")
    share = with_option(data, f"audit_fraction={AUDIT_FRACTION}")
    pooled = open_dataset(with_option(share, "role=site"))
    names = _names(pooled.table)
    if len(names) < n_sites:
        got = f"{len(np.unique(pooled.table.patients))}, which leave {n_sites - len(names)} empty"
        raise InputError("--data", f"patients for {n_sites} sites", got, "lower --sites")
    sites = {
        name: with_option(with_option(share, f"hospital={quote(name)}"), "role=site")
        for name in names
    }
    return Hospitals(sites, with_option(share, "role=audit")), pooled


def _names(table: SliceTable) -> list[str]:
    return sorted(str(name) for name in np.unique(table.hospital) if name)


def _check_fit(plan: Plan, sample: SliceDataset, data: str) -> None:
    found = plan.task.mismatch(sample)
    if found is not None:
        where = f"--data {data}: {found.what}"
        remedy = "give data of the plan's task, or a plan for these data"
        raise InputError(where, f"the plan's {found.expected}", str(found.got), remedy)


def _check_cohorts(table: SliceTable, min_cohort: int) -> None:
    """No site would answer that has fewer patients."""
    for name in _names(table):
        for split, purpose in (("train", "train on"), ("val", "score")):
            here = (table.hospital == name) & (table.split == split)
            n_patients = len(np.unique(table.patients[here]))
            if n_patients < min_cohort:
                expected = f"{min_cohort} patients or more at each site to {purpose}"
                remedy = "fewer --sites, more patients, or a lower --min-cohort"
                raise InputError("--min-cohort", expected, f"{n_patients} at {name}", remedy)
