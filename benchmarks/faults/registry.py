"""All faults, by name."""

from benchmarks.faults import centre_faults, file_faults, site_faults
from benchmarks.faults.fault import Fault

FAULTS: tuple[Fault, ...] = (
    *site_faults.FAULTS,
    *file_faults.FAULTS,
    *centre_faults.FAULTS,
)
BY_NAME = {fault.name: fault for fault in FAULTS}
