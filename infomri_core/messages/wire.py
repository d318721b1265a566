"""Messages as bytes: one safetensors blob with a JSON header. Nothing is pickled.

Safetensors is a length, a JSON table of arrays, then raw little-endian data: decoding it runs no
code. The header of the message travels in the blob's metadata.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from infomri_core.system.errors import Refused

MAX_HEADER_BYTES = 4 * 2**20
OVERHEAD_BYTES = MAX_HEADER_BYTES + 8
"""The most that a message is longer than its arrays."""
_DTYPES = frozenset(
    {"float32", "float64", "int64", "int32", "int8", "uint8", "uint16", "bool", "complex64"}
)

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Message:
    """What is said, as values.

    Args:
        kind: One of the closed list.
        header: Small values, as JSON takes them.
        arrays: By name.
    """

    kind: str
    header: dict[str, Any] = field(default_factory=dict)
    arrays: Arrays = field(default_factory=dict)


def encode(message: Message) -> bytes:
    """Bytes of a message. Equal messages give equal bytes."""
    head = json.dumps({"kind": message.kind, "header": message.header}, sort_keys=True)
    arrays = {name: np.ascontiguousarray(message.arrays[name]) for name in sorted(message.arrays)}
    return save(arrays, metadata={"message": head})


def peek(data: bytes) -> Message:
    """A message without its arrays, which are not touched.

    Args:
        data: What ``encode`` gave.

    Raises:
        Refused: ``bad-message``, where the header is malformed.
    """
    try:
        head = json.loads(_metadata(data)["message"])
        kind, header = head["kind"], head["header"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Refused("bad-message", "the message is not a well-formed InfoMRI message") from None
    if not isinstance(kind, str) or not isinstance(header, dict):
        raise Refused("bad-message", "the message has no kind or no header")
    return Message(kind, header)


def decode(data: bytes) -> Message:
    """A message, its arrays in the order of their names.

    Args:
        data: What ``encode`` gave.

    Raises:
        Refused: ``bad-message``, on anything malformed.
    """
    try:
        head = json.loads(_metadata(data)["message"])
        arrays = dict(sorted(load(data).items()))
        kind, header = head["kind"], head["header"]
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError):
        raise Refused("bad-message", "the message is not a well-formed InfoMRI message") from None
    if not isinstance(kind, str) or not isinstance(header, dict):
        raise Refused("bad-message", "the message has no kind or no header")
    if any(str(array.dtype) not in _DTYPES for array in arrays.values()):
        raise Refused("bad-message", "the message holds an array of an unknown type")
    return Message(kind, header, arrays)


def under(prefix: str, arrays: Arrays) -> dict[str, np.ndarray]:
    """The arrays with ``prefix/`` before their names."""
    return {f"{prefix}/{name}": array for name, array in arrays.items()}


def within(prefix: str, arrays: Arrays) -> dict[str, np.ndarray]:
    """The arrays whose names begin with ``prefix/``, without it."""
    start = f"{prefix}/"
    return {name[len(start) :]: a for name, a in arrays.items() if name.startswith(start)}


def _metadata(data: bytes) -> dict[str, str]:
    size = int.from_bytes(data[:8], "little")
    if size > min(MAX_HEADER_BYTES, len(data) - 8):
        raise ValueError("header too long")
    table = json.loads(data[8 : 8 + size])
    metadata = table["__metadata__"]
    if not isinstance(metadata, dict):
        raise ValueError("no metadata")
    return metadata
