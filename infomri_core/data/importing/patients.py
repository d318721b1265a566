"""Whose a file is: from its path where it does not say, and whether an id is one person's."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol, TypeVar

from infomri_core.data.importing.identity import composed
from infomri_core.data.importing.volume import Journal
from infomri_core.system.errors import InputError

Person = tuple[str, str, str, str]

_BIDS = re.compile(r"(?:^|/)(sub-[^/_]+)")


@dataclass(frozen=True)
class PatientRule:
    """``pattern`` is a regular expression with one group, searched in the path below the folder.

    Without one: BIDS' ``sub-XX`` where it stands, else the first folder, else the file's stem.
    """

    pattern: str = ""

    def __post_init__(self) -> None:
        """Refuse a pattern that is no expression or has not exactly one group (``InputError``)."""
        remedy = r"write e.g. --patient '^([^/_]+)'"
        try:
            groups = re.compile(self.pattern).groups
        except re.error as error:
            raise InputError("--patient", "a regular expression", str(error), remedy) from None
        if self.pattern and groups != 1:
            raise InputError("--patient", "one group in (..)", f"{groups}", remedy)

    def __call__(self, name: str) -> str:
        """The patient of the file at ``name``, '' if the pattern does not find one."""
        if self.pattern:
            found = re.search(self.pattern, name)
            return composed(found.group(1) or "") if found else ""
        name = composed(name)
        bids = _BIDS.search(name)
        path = PurePosixPath(name)
        if bids:
            # Of a file's name the endings are no part.
            return bids.group(1).split(".")[0] if bids.end() == len(name) else bids.group(1)
        return path.parts[0] if len(path.parts) > 1 else path.name.split(".")[0]


class Identified(Protocol):
    """Something of a patient that also says who that is: name, birth date, sex, issuer."""

    @property
    def patient(self) -> str: ...
    @property
    def person(self) -> Person: ...
    @property
    def path(self) -> Path: ...


Item = TypeVar("Item", bound=Identified)


def person(name: str, birth: str, sex: str, issuer: str = "") -> Person:
    """A person as compared here: spelling of names in any case, with any separators."""
    return (
        " ".join(composed(name.replace("^", " ")).casefold().split()),
        birth,
        sex.upper(),
        issuer,
    )


def one_person_each(items: Sequence[Item], journal: Journal) -> list[Item]:
    """Without the ids that two people share (birth date, sex or issuer differ).

    Warns of ids whose names alone differ, and of one person (name and birth date) under two ids.
    """
    people: dict[str, set[Person]] = defaultdict(set)
    ids: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for item in items:
        people[item.patient].add(item.person)
        name, birth, sex, _ = item.person
        if name and birth:
            ids[name, birth, sex].add(item.patient)
    shared = {p for p, who in people.items() if any(_differ(who, part) for part in (1, 2, 3))}
    renamed = sorted(p for p, who in people.items() if p not in shared and _differ(who, 0))
    if renamed:
        journal.warn(
            f"patient ids under which names are spelt differently: {len(renamed)}", *renamed
        )
    doubled = [sorted(several) for several in ids.values() if len(several) > 1]
    if doubled:
        journal.warn(
            f"people (same name and birth date) with several patient ids: {len(doubled)}; "
            "they may fall on both sides of a split",
            *(" = ".join(several) for several in doubled),
        )
    for item in items:
        if item.patient in shared:
            journal.skip(item.path, "one patient id, two people (birth date, sex or issuer)")
    return [item for item in items if item.patient not in shared]


def _differ(people: set[Person], part: int) -> bool:
    return len({who[part] for who in people} - {""}) > 1
