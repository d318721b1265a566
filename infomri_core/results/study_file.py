"""What a finished study leaves to its readers: its plan, arms and attackers, one file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np

from infomri_core.messages.wire import Arrays, Message, decode, encode
from infomri_core.system.errors import InputError, Refused

NAME = "study.safetensors"
_KIND = "study"


@final
@dataclass(frozen=True)
class StudyFile:
    """A study after its last round. ``arms``: flat float32 weights by arm name; ``variance``:
    (2, H, W) of noiseless k-space; ``attacks``: the fitted adversaries' arrays by name.

    It holds no image, no measurement and no figure of any site.
    """

    plan_text: str
    round: int
    variance: np.ndarray
    arms: Arrays
    attacks: Mapping[str, Arrays]

    def to_bytes(self) -> bytes:
        """One safetensors blob; nothing is pickled."""
        arrays = {f"arm/{name}": flat for name, flat in self.arms.items()}
        for name, parts in self.attacks.items():
            arrays |= {f"attack/{name}/{part}": array for part, array in parts.items()}
        header = {"plan": self.plan_text, "round": self.round}
        return encode(Message(_KIND, header, arrays | {"variance": self.variance}))


def parse_study_file(data: bytes, where: str = NAME) -> StudyFile:
    """What :meth:`StudyFile.to_bytes` made. ``InputError`` on anything else."""
    try:
        message = decode(data)
        if message.kind != _KIND:
            raise ValueError(f"a message of kind {message.kind!r}")
        return _from_message(message)
    except (Refused, KeyError, TypeError, ValueError) as error:
        raise InputError(
            where, "the file of a finished study", str(error) or repr(error), "run it again"
        ) from None


def _from_message(message: Message) -> StudyFile:
    arms, attacks = {}, dict[str, dict[str, np.ndarray]]()
    for key, array in message.arrays.items():
        kind, _, name = key.partition("/")
        if kind == "arm":
            arms[name] = array
        elif kind == "attack":
            attack, _, part = name.partition("/")
            attacks.setdefault(attack, {})[part] = array
    header = message.header
    variance = message.arrays["variance"]
    return StudyFile(str(header["plan"]), int(header["round"]), variance, arms, attacks)
