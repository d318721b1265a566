"""Fuzz what the vault decodes, for a bounded time, with atheris (``pip install atheris``).

``python -m benchmarks.fuzz.decode -max_total_time=60``: any exception but ``Refused`` is a find.
"""

import sys

from infomri_core import wire
from infomri_core.errors import Refused
from infomri_core.exchange import reply_from, task_from


def decode(data: bytes) -> None:
    """Read ``data`` as a task and as a reply; both may refuse, neither may fail otherwise."""
    for read in (task_from, reply_from):
        try:
            read(wire.decode(data))
        except Refused:
            continue


def main() -> None:
    """Hand over to the fuzzer, whose options are the command line's."""
    try:
        import atheris  # type: ignore[import-not-found]
    except ImportError:
        sys.exit("atheris is not installed: pip install atheris, then start again")
    atheris.instrument_all()
    atheris.Setup(["decode", "-max_total_time=60", *sys.argv[1:]], decode)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
