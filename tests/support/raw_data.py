"""ISMRMRD files in the making: what is in the scanner, measured by coils, line by line."""

from pathlib import Path
from typing import Any

import ismrmrd
import numpy as np

from infomri_core.data.importing.choice import Choice
from infomri_core.data.importing.formats.ismrmrd.scan import scan_ismrmrd
from infomri_core.data.importing.patients import PatientRule
from tests.support.hospital_files import blob
from tests.support.importing import images_of

N_X, N_Y, COILS = 24, 20, 3
OF_LINE = ("position", "read_dir", "phase_dir", "slice_dir", "encoding_space_ref")

HEADER = """<?xml version="1.0"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
<subjectInformation><patientName>Zabriskie</patientName>{subject}</subjectInformation>
<measurementInformation><protocolName>{protocol}</protocolName></measurementInformation>
<encoding><trajectory>{trajectory}</trajectory>
<encodedSpace><matrixSize><x>{wide}</x><y>{y}</y><z>{z}</z></matrixSize>
<fieldOfView_mm><x>{wide_mm}</x><y>{y_mm}</y><z>{z_mm}</z></fieldOfView_mm></encodedSpace>
<reconSpace><matrixSize><x>{x}</x><y>{y}</y><z>1</z></matrixSize>
<fieldOfView_mm><x>{x_mm}</x><y>{y_mm}</y><z>{z_mm}</z></fieldOfView_mm></reconSpace>
</encoding></ismrmrdHeader>
"""


def coils(shape: tuple[int, ...]) -> np.ndarray:
    """Smooth sensitivities (COILS, ...) whose squares sum to one."""
    rng = np.random.default_rng(0)
    grids = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    maps = [1.5 + sum(rng.normal(0, 0.4) * g for g in grids) for _ in range(COILS)]
    stack = np.stack(maps) * np.exp(1j * rng.uniform(0, 6, COILS))[(...,) + (None,) * len(shape)]
    return np.asarray(stack / np.sqrt((np.abs(stack) ** 2).sum(axis=0)))


def fft(image: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    shifted = np.fft.ifftshift(image, axes=axes)
    return np.fft.fftshift(np.fft.fftn(shifted, axes=axes, norm="ortho"), axes=axes)


def widened(images: np.ndarray) -> np.ndarray:
    """Twice the field of view along the readout, empty outside."""
    pad = images.shape[-1] // 2
    return np.pad(images, [(0, 0)] * (images.ndim - 1) + [(pad, pad)])


class Raw:
    """A file in the making; ``volume`` (slices, H, W) is what was in the scanner."""

    def __init__(self, path: Path, volume: np.ndarray, **header: Any) -> None:
        self.path, self.volume, self.header = path, volume, header
        self.lines: list[tuple[int, int, int, np.ndarray, dict[str, Any]]] = []
        path.parent.mkdir(parents=True, exist_ok=True)

    def measured(self, *, three_d: bool = False, keep: Any = slice(None), **fields: Any) -> "Raw":
        """Every line of the volume that ``keep`` takes; ``fields`` are set on each readout."""
        kspace = widened(coils(self.volume.shape) * self.volume)
        kspace = fft(kspace, (1, 2, 3) if three_d else (2, 3))
        for z in range(kspace.shape[1]):
            for y in range(kspace.shape[2])[keep]:
                self.lines.append((z, y, 0, kspace[:, z, y], dict(fields)))
        return self

    def extra(self, flag: int = 0, **fields: Any) -> "Raw":
        noise = np.full((COILS, 2 * self.volume.shape[2]), 1e6 + 0j)
        self.lines.insert(0, (0, 0, flag, noise, fields))
        return self

    def write(self, *, three_d: bool = False) -> Path:
        depth, n_y, n_x = self.volume.shape
        values = {"subject": "<patientID>A1</patientID>", "protocol": "t2", "x": n_x, "y": n_y}
        values |= {"trajectory": "cartesian", "wide": 2 * n_x, "z": depth if three_d else 1}
        values |= {"wide_mm": 4.0 * n_x, "x_mm": 2.0 * n_x, "y_mm": 2.0 * n_y, "z_mm": 4.0 * depth}
        with ismrmrd.Dataset(str(self.path), mode="w") as file:
            file.write_xml_header(HEADER.format(**(values | self.header)).encode())
            for z, y, flag, samples, fields in self.lines:
                line = ismrmrd.Acquisition.from_array(samples.astype(np.complex64))
                line.center_sample = samples.shape[1] // 2
                line.read_dir, line.phase_dir, line.slice_dir = (1, 0, 0), (0, 1, 0), (0, 0, 1)
                line.idx.kspace_encode_step_1 = y
                if three_d:
                    line.idx.kspace_encode_step_2 = z
                else:
                    line.idx.slice, line.position = z, (0, 0, 4.0 * z)
                if flag:
                    line.set_flag(flag)
                for name, value in fields.items():
                    setattr(line if name in OF_LINE else line.idx, name, value)
                file.append_acquisition(line)
        return self.path


def volume(depth: int = 2, n_y: int = N_Y, n_x: int = N_X) -> np.ndarray:
    return np.stack([blob(n_y, n_x, place) for place in range(depth)])


def read(path: Path, rule: str = "") -> list[Any]:
    scratch = path.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    return images_of(scan_ismrmrd, path, Choice(plane="any"), PatientRule(rule), scratch=scratch)
