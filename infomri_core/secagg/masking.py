"""Masks: long uniform vectors from 32-byte seeds, and the seeds that two sites share."""

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_CHUNK = 2**18


def add_mask(vector: np.ndarray, seed: bytes, sign: int) -> None:
    """Add ``sign`` (1 or -1) times the mask of ``seed`` to uint64 (n,), modulo 2^64, in place.

    The mask is the keystream of AES-256 in counter mode: a seed must make one mask only.
    """
    stream = Cipher(algorithms.AES(seed), modes.CTR(bytes(16))).encryptor()
    zeros = bytes(8 * _CHUNK)
    for start in range(0, len(vector), _CHUNK):
        part = vector[start : start + _CHUNK]
        mask = np.frombuffer(stream.update(zeros[: 8 * len(part)]), dtype="<u8")
        if sign > 0:
            part += mask
        else:
            part -= mask


def agree(private: bytes, public: bytes, purpose: bytes) -> bytes:
    """The 32 bytes that two holders of X25519 keys share for one ``purpose``.

    Raises ``ValueError`` for a public key of low order.
    """
    key = X25519PrivateKey.from_private_bytes(private)
    shared = key.exchange(X25519PublicKey.from_public_bytes(public))
    return HKDF(SHA256(), 32, None, purpose).derive(shared)


def public_of(private: bytes) -> bytes:
    """The X25519 public key of a private one."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def labelled(*parts: str | bytes) -> bytes:
    """The parts as one byte string that no other parts give."""
    encoded = [part.encode() if isinstance(part, str) else part for part in parts]
    return b"".join(len(part).to_bytes(4) + part for part in encoded)


def pair_purpose(context: bytes, binding: bytes, a: str, b: str) -> bytes:
    """What the pairwise mask of two sites is for, whichever of them asks."""
    return labelled("infomri pairwise mask", context, binding, min(a, b), max(a, b))


def pair_sign(site: str, other: str) -> int:
    """The sign with which ``site`` adds the mask it shares with ``other``: theirs is opposite."""
    return 1 if site < other else -1
