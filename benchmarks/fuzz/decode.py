"""Fuzz what the vault decodes by coverage, with atheris (``pip install atheris``).

``python -m benchmarks.fuzz.decode -max_total_time=60``: any exception but ``Refused`` is a find.
Half of the inputs are taken as bytes from the wire, half as the parts of a message that is then
encoded, so that the fuzzer also reaches what lies behind the framing. Without atheris the same
decoder is the reader ``wire`` of ``python -m benchmarks.fuzz``.
"""

import contextlib
import sys
from typing import Any

import numpy as np

from infomri_core.messages import reply_from, task_from, wire
from infomri_core.system.errors import Refused

KINDS = (
    *("enrol", "moments", "train", "evaluate", "release", "announce", "share", "unmask"),
    *("card", "trained", "masked", "evaluated", "released", "error", "announced", "shared"),
)
FIELDS = (
    *("plan", "deadline", "round", "arm", "acceleration", "masking", "site", "shape", "labels"),
    *("n_patients", "n_slices", "n_positive", "versions", "n_samples", "losses", "dropped"),
    *("epsilon", "cells", "n_units", "code", "sentence", "failed"),
)
ARRAYS = (
    *("variance", "mean", "total", "weights", "arm/a", "attack/lmmse/mean"),
    *("p/mask", "p/values"),
)
DTYPES = ("float32", "float64", "int64", "uint8", "bool", "complex64")
VALUES = (0, 1, -1, 2**70, 0.5, float("nan"), float("inf"), True, None, "", "a", [], [8, 8], {})


def decode(data: bytes) -> None:
    """Read ``data`` as a task and as a reply; both may refuse, neither may fail otherwise."""
    for read in (task_from, reply_from):
        with contextlib.suppress(Refused):
            wire.peek(data)
        with contextlib.suppress(Refused):
            read(wire.decode(data))


def message_of(data: bytes) -> wire.Message:
    """A message whose kind, fields and arrays are chosen by the bytes of ``data``, in order."""
    left = iter(data)

    def pick(choices: Any) -> Any:
        return choices[next(left, 0) % len(choices)]

    kind = pick(KINDS)
    header = {pick(FIELDS): _value(pick, left) for _ in range(next(left, 0) % 12)}
    arrays = {}
    for _ in range(next(left, 0) % 4):
        shape = tuple(next(left, 0) % 5 for _ in range(next(left, 0) % 4))
        arrays[pick(ARRAYS)] = np.full(shape, next(left, 0)).astype(pick(DTYPES))
    return wire.Message(kind, header, arrays)


def _value(pick: Any, left: Any) -> Any:
    """A small value, a list of two, or a table of one."""
    form = next(left, 0) % 4
    if form == 2:
        return [pick(VALUES), pick(VALUES)]
    return {"a": pick(VALUES)} if form == 3 else pick(VALUES)


def one_input(data: bytes) -> None:
    """Either kind of input, by the first byte."""
    if data[:1] < b"\x80":
        decode(data[1:])
    else:
        decode(wire.encode(message_of(data[1:])))


def main() -> None:
    """Hand over to the fuzzer, whose options are the command line's."""
    try:
        import atheris  # type: ignore[import-not-found]
    except ImportError:
        sys.exit("atheris is not installed: pip install atheris, then start again")
    atheris.instrument_all()
    atheris.Setup(["decode", "-max_total_time=60", *sys.argv[1:]], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
