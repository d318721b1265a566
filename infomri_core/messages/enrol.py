"""Enrolment as typed values: a site's dataset card."""

from collections.abc import Mapping
from dataclasses import dataclass

from infomri_core.messages.wire import Message
from infomri_core.system.names import is_site_name
from infomri_core.system.plain import plain


@dataclass(frozen=True)
class EnrolTask:
    """Ask a site for its dataset card.

    Args:
        plan_text: The whole plan.
        deadline: Unix time, seconds.
    """

    plan_text: str
    deadline: float

    def to_message(self) -> Message:
        return Message("enrol", {"plan": self.plan_text, "deadline": self.deadline})


@dataclass(frozen=True)
class DatasetCard:
    """A site's answer to ``enrol``: no value of any patient.

    Args:
        site: Its name.
        n_patients: Rounded by the gate, as all counts.
        n_slices: Of all patients.
        n_positive: Patients with each label.
        shape: (H, W) of the slices.
        labels: In the order of ``n_positive``.
        versions: Of the programs at the site.
    """

    site: str
    n_patients: int
    n_slices: int
    n_positive: tuple[int, ...]
    shape: tuple[int, int]
    labels: tuple[str, ...]
    versions: Mapping[str, str]

    def to_message(self) -> Message:
        header = {
            "site": self.site,
            "n_patients": self.n_patients,
            "n_slices": self.n_slices,
            "n_positive": list(self.n_positive),
            "shape": list(self.shape),
            "labels": list(self.labels),
            "versions": dict(self.versions),
        }
        return Message("card", header)


def card_from(message: Message) -> DatasetCard:
    """The card in a message; ``KeyError``, ``TypeError`` or ``ValueError`` when it has not the
    form."""
    h = message.header
    height, width = (int(n) for n in h["shape"])
    if not is_site_name(h["site"]):
        raise ValueError("site")
    return DatasetCard(
        site=h["site"],
        n_patients=int(h["n_patients"]),
        n_slices=int(h["n_slices"]),
        n_positive=tuple(int(n) for n in h["n_positive"]),
        shape=(height, width),
        labels=tuple(str(name) for name in h["labels"]),
        versions={plain(str(k)): plain(str(v)) for k, v in h["versions"].items()},
    )
