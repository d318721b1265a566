"""How a valid file is damaged: by bytes, and by the parts of its format, where bytes alone would
only meet a checksum."""

import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pydicom

Rng = np.random.Generator
Mutate = Callable[[bytes, Rng], bytes]

_ODD = (0, 1, -1, 2, 7, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)
_WORDS = (
    *("", "0", "-1", "1e400", "nan", "inf", "-0.0", "1,5", "9" * 400, "true", "True", "None"),
    *('"', "'", "\\", "[", "]", "{", "}", "=", "#", "\t", "\x00", "\u202e", "ü", "\ufeff"),
    *("0x10", "1_000", "1979-05-27", "''''''", "[[arms]]", "[privacy]", "a.b.c", "../x", "%2C"),
)
_HDF5_VALUES: tuple[Any, ...] = (
    *(0, -1, 2**40, np.nan, np.inf, "", "x" * 5000, b"\xff\xfe", True, 1 + 1j),
    *(np.zeros(0), np.zeros((0, 8, 8), np.float32), np.zeros((2, 8, 8)), np.ones((4, 9, 8))),
    *(np.full((4, 8, 8), np.nan), np.full((4, 8, 8), -1.0), np.zeros((1, 1, 1, 1, 1))),
    *(np.array([0, 1, 2, 3]), np.array(list("aabb"), "S1"), np.zeros(4, "i8,f4")),
    *(np.arange(4) * 1j, np.array([1e308] * 4), np.zeros((4, 2), bool), np.full(4, 2**63, "u8")),
)
_DICOM_TEXT = (b"", b"0", b"-1", b"1e400", b"nan", b"1\\2", b"\\\\", b"9" * 16, b"\xff" * 8)


def raw_bytes(data: bytes, rng: Rng) -> bytes:
    """Flip, set, insert, cut out or cut off a few bytes, or write an odd number over some."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        at, kind = int(rng.integers(0, max(len(out), 1))), int(rng.integers(0, 7))
        if kind == 0 and out:
            out[at] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            out[at : at + 1] = bytes([int(rng.choice([0, 1, 127, 128, 255]))])
        elif kind == 2:
            out[at:at] = rng.bytes(int(rng.integers(1, 9)))
        elif kind == 3:
            del out[at : at + int(rng.integers(1, 9))]
        elif kind == 4 and rng.random() < 0.2:
            del out[at:]
        else:
            size = int(rng.choice([2, 4, 8]))
            out[at // size * size : at // size * size + size] = _odd(rng, size)
    return bytes(out)


def head(size: int) -> Mutate:
    """Mostly the first ``size`` bytes, where a format's fields stand."""

    def mutate(data: bytes, rng: Rng) -> bytes:
        if rng.random() < 0.2:
            return raw_bytes(data, rng)
        return raw_bytes(data[:size], rng) + data[size:]

    return mutate


def words(data: bytes, rng: Rng) -> bytes:
    """Words of a text replaced, lines left out, repeated or exchanged."""
    if rng.random() < 0.15:
        return raw_bytes(data, rng)
    parts = re.split(r"(\w+|\n)", data.decode("utf-8", "surrogateescape"))
    for _ in range(int(rng.integers(1, 4))):
        at, kind = int(rng.integers(0, len(parts))), int(rng.integers(0, 6))
        if kind < 3:
            parts[at] = _WORDS[int(rng.integers(0, len(_WORDS)))]
        elif kind == 3:
            other = int(rng.integers(0, len(parts)))
            parts[at], parts[other] = parts[other], parts[at]
        else:
            begin, end = sorted(int(n) for n in rng.integers(0, len(parts), 2))
            parts[at:at] = parts[begin:end] if kind == 4 else []
            del parts[begin : end if kind == 5 and end - begin < 20 else begin]
    return "".join(parts).encode("utf-8", "surrogateescape")


def packed(inner: Mutate) -> Mutate:
    """What a gzip file holds, packed again."""

    def mutate(data: bytes, rng: Rng) -> bytes:
        import gzip

        if rng.random() < 0.2:
            return raw_bytes(data, rng)
        return gzip.compress(inner(gzip.decompress(data), rng), 1, mtime=0)

    return mutate


def archive(inner: Mutate) -> Mutate:
    """One file of a zip archive, packed again."""

    def mutate(data: bytes, rng: Rng) -> bytes:
        if rng.random() < 0.3:
            return raw_bytes(data, rng)
        out = BytesIO()
        with zipfile.ZipFile(BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
            chosen = int(rng.integers(0, len(old.infolist())))
            for i, name in enumerate(old.namelist()):
                content = old.read(name)
                new.writestr(name, inner(content, rng) if i == chosen else content)
        return out.getvalue()

    return mutate


def png(data: bytes, rng: Rng) -> bytes:
    """Chunks of a PNG with their checksums right; the pixels packed again."""
    if rng.random() < 0.2:
        return raw_bytes(data, rng)
    chunks, at = [], 8
    while at + 8 <= len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        chunks.append((kind, data[at + 8 : at + 8 + size]))
        at += 12 + size
    i = int(rng.integers(0, len(chunks)))
    kind, content = chunks[i]
    if kind == b"IDAT" and rng.random() < 0.7:
        content = zlib.compress(raw_bytes(zlib.decompress(content), rng), 1)
    else:
        content = raw_bytes(content, rng)
    chunks[i] = (kind, content)
    if rng.random() < 0.2:
        chunks.insert(int(rng.integers(0, len(chunks))), chunks[i])
    made = [struct.pack(">I4s", len(c), k) + c + _crc(k + c) for k, c in chunks]
    return data[:8] + b"".join(made)


def dicom(data: bytes, rng: Rng) -> bytes:
    """Elements of a DICOM file: their values, types and lengths; left out or repeated."""
    if rng.random() < 0.2:
        return raw_bytes(data, rng)
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 3))):
        places = _elements(bytes(out))
        if not places:
            return raw_bytes(bytes(out), rng)
        begin, value, length = places[int(rng.integers(0, len(places)))]
        kind = int(rng.integers(0, 6))
        if kind == 0:
            size = 4 if value - begin == 12 else 2
            out[value - size : value] = _odd(rng, size)
        elif kind == 1:
            vr = ("IS", "DS", "US", "SS", "UI", "SQ", "OB", "UN", "LO", "FD", "AT")
            out[begin + 4 : begin + 6] = vr[int(rng.integers(0, len(vr)))].encode()
        elif kind == 2:
            del out[begin : value + length]
        elif kind == 3:
            out[begin:begin] = out[begin : value + length]
        elif kind == 4 and length:
            text = _DICOM_TEXT[int(rng.integers(0, len(_DICOM_TEXT)))]
            out[value : value + length] = text[:length].ljust(length, b" ")
        else:
            out[value : value + length] = raw_bytes(bytes(out[value : value + length]), rng)
    return bytes(out)


def hdf5(folder: Path, names: Sequence[str] = ()) -> Mutate:
    """Data sets, types, attributes and filters of an HDF5 file, or its bytes; ``names``: of
    attributes that a reader looks for. Works on a file in ``folder``."""

    def mutate(data: bytes, rng: Rng) -> bytes:
        if rng.random() < 0.5:
            return raw_bytes(data, rng)
        path = folder / "mutated.h5"
        path.write_bytes(data)
        with h5py.File(path, "r+") as file:
            for _ in range(int(rng.integers(1, 3))):
                _change(file, names, rng)
        out = path.read_bytes()
        return raw_bytes(out, rng) if rng.random() < 0.2 else out

    return mutate


def ismrmrd(folder: Path) -> Mutate:
    """The header's words and the readouts' fields, or the HDF5 around them."""
    around = hdf5(folder)

    def mutate(data: bytes, rng: Rng) -> bytes:
        chosen = rng.random()
        if chosen < 0.3:
            return around(data, rng)
        path = folder / "mutated.h5"
        path.write_bytes(data)
        with h5py.File(path, "r+") as file:
            if chosen < 0.6:
                text = words(bytes(file["dataset/xml"][0]), rng)
                file["dataset/xml"][0] = text.replace(b"\x00", b" ") or b" "
            else:
                _readouts(file["dataset/data"], rng)
        return path.read_bytes()

    return mutate


def _odd(rng: Rng, size: int) -> bytes:
    number = _ODD[int(rng.integers(0, len(_ODD)))] % (1 << (8 * size))
    return number.to_bytes(size, "little" if rng.random() < 0.7 else "big")


def _crc(data: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(data))


def _elements(data: bytes) -> list[tuple[int, int, int]]:
    """Where each top-level element begins, where its value does, and the value's length."""
    try:
        dataset = pydicom.dcmread(BytesIO(data), force=True)
        raw = [dataset.get_item(tag) for tag in dataset.keys()]  # noqa: SIM118
    except Exception:
        return []
    places = []
    for element in raw:
        tell, length = getattr(element, "value_tell", None), getattr(element, "length", None)
        if isinstance(tell, int) and isinstance(length, int) and 0 <= length < len(data):
            long = data[tell - 8 : tell - 6] in (b"OB", b"OW", b"SQ", b"UN", b"UT", b"OF", b"OD")
            places.append((tell - (12 if long else 8), tell, length))
    return [place for place in places if place[0] > 0]


def _change(file: h5py.File, names: Sequence[str], rng: Rng) -> None:
    found = list(file.keys())
    name = found[int(rng.integers(0, len(found)))] if found else "image"
    value = _HDF5_VALUES[int(rng.integers(0, len(_HDF5_VALUES)))]
    kind = int(rng.integers(0, 7))
    try:
        if kind == 0 and name in file:
            del file[name]
        elif kind == 1:
            owner = file[name] if name in file and rng.random() < 0.5 else file
            known = [*names, *owner.attrs.keys(), "names", "exclusive"]
            owner.attrs[known[int(rng.integers(0, len(known)))]] = value
        elif kind == 2:
            target = ("/", "/" + name, "/nowhere")[int(rng.integers(0, 3))]
            file.pop(name, None)
            file[name] = h5py.SoftLink(target)
        elif kind == 3:
            file.pop(name, None)
            shape = tuple(int(n) for n in rng.choice([0, 1, 2, 4, 8, 2**20], rng.integers(0, 5)))
            file.create_dataset(name, shape, rng.choice(["u1", "f4", "c8", "S3", "f2", "?"]))
        elif kind == 4 and name in file and isinstance(file[name], h5py.Dataset):
            values = file[name][()]
            file.pop(name)
            file.create_dataset(name, data=values, chunks=True, compression="gzip", shuffle=True)
        else:
            file.pop(name, None)
            file[name] = value
    except (ValueError, TypeError, OSError, KeyError, RuntimeError, MemoryError):
        return


def _readouts(data: h5py.Dataset, rng: Rng) -> None:
    rows = data[()]
    fields = [n for n in rows.dtype["head"].names if n != "idx"]
    for _ in range(int(rng.integers(1, 4))):
        some = slice(None) if rng.random() < 0.5 else int(rng.integers(0, len(rows)))
        head, number = rows["head"], _ODD[int(rng.integers(0, len(_ODD)))]
        if rng.random() < 0.4:
            head = head["idx"]
            fields = list(head.dtype.names)
        name = fields[int(rng.integers(0, len(fields)))]
        kind = head.dtype[name].base
        value: Any = float(rng.choice([np.nan, np.inf, 0, 1e30])) if kind.kind == "f" else number
        if kind.kind in "iu":
            value = np.array(number % (1 << 8 * kind.itemsize), "u8").astype(kind)
        head[name][some] = value
        fields = [n for n in rows.dtype["head"].names if n != "idx"]
    data[...] = rows
