"""Mutate small valid files, seeded, and read them: any exception but ``InputError`` is a find.

``python -m benchmarks.fuzz.readers --reader hdf5 --n 1000 --seed 0``; without --reader, all. A
reader that ends its process (a crash inside a C library) leaves the file at --keep.
"""

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from infomri_core.data import open_dataset
from infomri_core.data.importing.choice import Choice
from infomri_core.data.importing.formats.ismrmrd.scan import scan_ismrmrd
from infomri_core.data.importing.formats.nifti import scan_nifti
from infomri_core.data.importing.formats.pictures import scan_pictures
from infomri_core.data.importing.patients import PatientRule
from infomri_core.data.importing.tables.label_table import read_labels
from infomri_core.data.importing.volume import Journal, Volume
from infomri_core.system.config import read_toml
from infomri_core.system.errors import InputError

Reader = tuple[str, Callable[[Path], None], Callable[[Path], object]]


def _slices(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["image"] = np.random.default_rng(0).integers(1, 99, (4, 8, 8)).astype(np.uint16)
        file["patient"] = np.array(list("abcd"), dtype=h5py.string_dtype())
        file["label"] = np.array([0, 1, 0, 1])


def _fastmri(path: Path) -> None:
    for name in (path, path.with_name("other.h5")):
        with h5py.File(name, "w") as file:
            file["kspace"] = np.random.default_rng(0).normal(size=(2, 8, 8)).astype(np.complex64)
            file.attrs["patient_id"] = name.stem


def _nifti(path: Path) -> None:
    import nibabel

    nibabel.save(nibabel.Nifti1Image(np.ones((8, 8, 3), dtype=np.int16), np.eye(4)), path)


def _raw(path: Path) -> None:
    from tests.support.raw_data import Raw, volume

    Raw(path, volume(1, 8, 8)).measured().write()


def _picture(path: Path) -> None:
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(path)


def _text(content: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_text(content, encoding="utf-8")

    return write


def _pixels(volumes: list[Volume], folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        for volume in volumes:
            list(volume.read(Path(scratch)))


def _scan(scan: Callable[..., list[Volume]]) -> Callable[[Path], None]:
    rule = PatientRule()
    return lambda path: _pixels(
        scan(path.parent, Choice(plane="any"), rule, Journal(), lambda: None), path.parent
    )


READERS: dict[str, Reader] = {
    "hdf5": ("a.h5", _slices, lambda p: open_dataset(f"slices:{p}").images([0])),
    "fastmri": (
        "a.h5",
        _fastmri,
        lambda p: open_dataset(f"fastmri:{p.parent}?size=8").images([0]),
    ),
    "ismrmrd": ("a.h5", _raw, _scan(scan_ismrmrd)),
    "nifti": ("a.nii", _nifti, _scan(scan_nifti)),
    "png": ("a.png", _picture, _scan(scan_pictures)),
    "tiff": ("a.tif", _picture, _scan(scan_pictures)),
    "labels": ("a.csv", _text("patient,tear\na,1\nb,0\n"), lambda p: read_labels(p, ())),
    "toml": ("a.toml", _text('[data]\nuri = "a"\nn = [1, 2.5]\n'), read_toml),
}


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Flip, set, insert, cut out or cut off a few bytes."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        at, kind = int(rng.integers(0, max(len(out), 1))), int(rng.integers(0, 5))
        if kind == 0 and out:
            out[at] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            out[at : at + 1] = bytes([int(rng.choice([0, 1, 127, 128, 255]))])
        elif kind == 2:
            out[at:at] = rng.bytes(int(rng.integers(1, 9)))
        elif kind == 3:
            del out[at : at + int(rng.integers(1, 9))]
        elif rng.random() < 0.1:
            del out[at:]
    return bytes(out)


def fuzz(reader: str, n: int, seed: int, keep: Path) -> Counter[str]:
    """Counts of 'read', 'refused' and, by exception, what should not be."""
    name, make, read = READERS[reader]
    rng, found = np.random.default_rng(seed), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "in" / name
        path.parent.mkdir()
        make(path)
        valid = path.read_bytes()
        for _ in range(n):
            data = mutate(valid, rng)
            path.write_bytes(data)
            keep.write_bytes(data)
            try:
                read(path)
                found["read"] += 1
            except InputError:
                found["refused"] += 1
            except Exception as error:
                kind = f"{type(error).__name__}: {str(error)[:80]}"
                if not found[kind]:
                    keep.with_name(f"find-{reader}-{len(found)}").write_bytes(data)
                found[kind] += 1
    return found


def main() -> None:
    """Fuzz one reader or all, and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reader", choices=[*READERS])
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "fuzzed")
    given = parser.parse_args()
    for reader in [given.reader] if given.reader else READERS:
        start = time.process_time()
        found = fuzz(reader, given.n, given.seed, given.keep)
        print(
            f"{reader}: {dict(found)}, {time.process_time() - start:.0f} CPU seconds", flush=True
        )


if __name__ == "__main__":
    main()
