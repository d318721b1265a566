"""Where a study stands after each round: one safetensors file a round, whole or not there."""

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from infomri_core.messages.wire import Arrays, Message, decode, encode
from infomri_core.system.errors import InputError, Refused
from infomri_core.system.files import write_atomically

logger = logging.getLogger(__name__)
_NAME = re.compile(r"round-(\d{5})\.safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """State after ``round`` rounds (0: before the first).

    ``arms``: flat float32 weights by arm name. ``variance``: (2, H, W) of noiseless k-space.
    ``dropped``: diverged arms and why, in words. ``history``: any JSON value. ``server``: the
    aggregation's own state by arm name. ``factors`` (q, H, W) of the audit set's covariance, where
    a suppression needs them.
    """

    plan_text: str
    round: int
    arms: Arrays
    variance: np.ndarray
    dropped: Mapping[str, str] = field(default_factory=dict)
    history: Any = None
    server: Mapping[str, Arrays] = field(default_factory=dict)
    factors: np.ndarray | None = None

    @property
    def plan_digest(self) -> str:
        """sha256 of the plan's text, hex."""
        return hashlib.sha256(self.plan_text.encode()).hexdigest()


def save(directory: Path, checkpoint: Checkpoint, keep: int = 0) -> Path:
    """Write the checkpoint atomically and return its path.

    With ``keep`` > 0 only the newest ``keep`` files stay; 0 keeps all.
    """
    path = directory / f"round-{checkpoint.round:05d}.safetensors"
    write_atomically(path, _to_bytes(checkpoint))
    if keep > 0:
        for old in _files(directory)[keep:]:
            old.unlink(missing_ok=True)
    return path


def latest(directory: Path, plan_digest: str | None = None) -> Checkpoint | None:
    """The newest readable checkpoint, or None. A torn file is skipped with a logged warning.

    With ``plan_digest`` a checkpoint of another plan raises ``InputError``: weights of one plan
    are never continued under another.
    """
    for path in _files(directory):
        try:
            checkpoint = load(path)
        except InputError as error:
            logger.warning("%s; the checkpoint before it is taken", error)
            continue
        if plan_digest is not None and checkpoint.plan_digest != plan_digest:
            raise InputError(
                str(path),
                f"a checkpoint of plan {plan_digest[:12]}",
                f"one of plan {checkpoint.plan_digest[:12]}",
                "resume with the plan the run was started with",
            )
        return checkpoint
    return None


def load(path: Path) -> Checkpoint:
    """Read one checkpoint. Raises ``InputError`` when it is missing, torn or altered."""
    try:
        return _from_bytes(path.read_bytes())
    except (OSError, Refused, KeyError, TypeError, ValueError) as error:
        raise InputError(
            str(path), "a whole checkpoint", str(error) or repr(error), "take an earlier one"
        ) from None


def _files(directory: Path) -> list[Path]:
    """Checkpoint files, newest round first."""
    found = (p for p in directory.glob("round-*.safetensors") if _NAME.fullmatch(p.name))
    return sorted(found, key=lambda path: path.name, reverse=True)


def _to_bytes(checkpoint: Checkpoint) -> bytes:
    arrays = {f"arm/{name}": weights for name, weights in checkpoint.arms.items()}
    for name, state in checkpoint.server.items():
        arrays |= {f"server/{name}/{key}": array for key, array in state.items()}
    arrays["variance"] = checkpoint.variance
    if checkpoint.factors is not None:
        arrays["factors"] = checkpoint.factors
    # The history grows with the rounds; a message's header is bounded, its arrays are not.
    arrays["history"] = np.frombuffer(json.dumps(checkpoint.history).encode(), dtype=np.uint8)
    header = {
        "plan": checkpoint.plan_text,
        "round": checkpoint.round,
        "dropped": dict(checkpoint.dropped),
        "sha256": _content_digest(arrays),
    }
    return encode(Message("checkpoint", header, arrays))


def _from_bytes(data: bytes) -> Checkpoint:
    message = decode(data)
    header, arrays = message.header, message.arrays
    if message.kind != "checkpoint":
        raise ValueError(f"a message of kind {message.kind!r}")
    if header["sha256"] != _content_digest(arrays):
        raise ValueError("its content is not what was written")
    return Checkpoint(
        plan_text=str(header["plan"]),
        round=int(header["round"]),
        arms={name[4:]: array for name, array in arrays.items() if name.startswith("arm/")},
        variance=arrays["variance"],
        dropped={str(name): str(why) for name, why in header["dropped"].items()},
        history=json.loads(arrays["history"].tobytes()),
        server=_server_from(arrays),
        factors=arrays.get("factors"),
    )


def _server_from(arrays: Arrays) -> dict[str, dict[str, np.ndarray]]:
    server: dict[str, dict[str, np.ndarray]] = {}
    for path, array in arrays.items():
        if path.startswith("server/"):
            _, name, key = path.split("/")
            server.setdefault(name, {})[key] = array
    return server


def _content_digest(arrays: Arrays) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}\n".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()
