"""What a task asks, as a digest: by it a site knows a question that it answered before."""

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from infomri_core.messages.reading import Exchanged

_HOW_NOT_WHAT = {"deadline", "masking"}


def task_digest(task: "Exchanged") -> str:
    """sha256, hex, of all that ``task`` says except when it is wanted and under which masks it is
    to leave: a task sent again with a new deadline asks the same."""
    message = task.to_message()
    header = {key: value for key, value in message.header.items() if key not in _HOW_NOT_WHAT}
    digest = hashlib.sha256(json.dumps([message.kind, header], sort_keys=True).encode())
    for name in sorted(message.arrays):
        array = np.ascontiguousarray(message.arrays[name])
        digest.update(repr((name, array.dtype.str, array.shape)).encode())
        digest.update(array.data)
    return digest.hexdigest()
