"""Data sets of MR slices, opened by URI."""

from infomri_core.data.base import SliceDataset, SliceTable, Subset
from infomri_core.data.outlines.simulated import SimulatedRaters
from infomri_core.data.shrunk import Shrunk
from infomri_core.data.split import select
from infomri_core.data.uri import parse_uri
from infomri_core.plugins.registry import Registry
from infomri_core.system.errors import InputError, nearest

__all__ = ["SliceDataset", "SliceTable", "open_dataset"]

FORMATS = Registry(
    "infomri.formats",
    {
        "phantom": "infomri_core.data.phantom.dataset:open_phantom",
        "slices": "infomri_core.data.slices:open_slices",
        "fastmri": "infomri_core.data.fastmri.volumes:open_fastmri",
        "mnist": "infomri_core.data.published.mnist:open_mnist",
        "qubiq": "infomri_core.data.published.qubiq:open_qubiq",
    },
)


def open_dataset(uri: str) -> SliceDataset:
    """The slices that a URI asks for. Patients are never divided between splits, roles or
    hospitals.

    Args:
        uri: Such as ``slices:knees.h5?hospital=north&role=site``; docs/data.md lists formats and
            options.

    Raises:
        InputError: The data cannot be used.
    """
    parsed = parse_uri(uri)
    scheme = parsed.scheme
    if scheme not in FORMATS:
        hint = FORMATS.hint(scheme) or nearest(scheme, FORMATS) or "write e.g. slices:knees.h5"
        raise InputError(uri, f"one of {', '.join(FORMATS)}", f"'{scheme}:'", hint)
    dataset, selection = FORMATS.load(scheme)(parsed)
    selection.check(uri)
    if selection.shrink > 1:
        dataset = Shrunk(dataset, selection.shrink, uri)
    if selection.raters:
        dataset = SimulatedRaters(dataset, selection.raters, uri)
    dataset.table, rows = select(dataset.table, selection, uri)
    dataset.check(rows)
    return Subset(dataset, rows)
