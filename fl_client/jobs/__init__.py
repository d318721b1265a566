"""What a vault does for others: a closed list of jobs, each declared whole in one file.

A job says which rows of the table it reads, what it costs in epsilon, inputs and figures, and how
its reply is checked (:mod:`fl_client.jobs.declaration`); without that it cannot be registered.
"""

from fl_client.jobs.questions import ledger_entry_of
from fl_client.jobs.service import Jobs

__all__ = ["Jobs", "ledger_entry_of"]
