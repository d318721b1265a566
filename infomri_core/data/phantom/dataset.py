"""Knee-like phantoms: a seeded generator of patients with three findings at different scales."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from infomri_core.data.base import SliceDataset, SliceTable
from infomri_core.data.normalise import normalise
from infomri_core.data.phantom.ambiguous import DEFAULT_RATERS, AmbiguousPhantom, draw_discs
from infomri_core.data.phantom.anatomy import (
    FINDINGS,
    Anatomy,
    concatenate,
    draw_patient,
    draw_slices,
)
from infomri_core.data.uri import DataUri, Selection, at_least, read_options
from infomri_core.system.errors import InputError

DEFAULT_HOSPITAL = "phantom"
_PIXELS_AT_ONCE = 1 << 20
_MASKS_AT_ONCE = 256
VISIBLE = 0.02
_STRIDE = 1.0 / 1.2207440846057596  # root of x^4 = x + 1: its powers fill the cube evenly


@dataclass(frozen=True)
class PhantomOptions(Selection):
    """``patients`` and ``slices`` are counts per hospital and per patient, ``size`` is in pixels.

    ``prevalence`` is the share of patients with a finding, ``intensity`` the exponent of the
    scanner's gain curve; each has one value, or one per hospital. ``ambiguous``: discs without a
    sharp edge (:mod:`infomri_core.data.phantom.ambiguous`) in place of knees.
    """

    patients: int = 24
    slices: int = 4
    size: int = 64
    seed: int = 0
    prevalence: tuple[float, ...] = (0.4,)
    intensity: tuple[float, ...] = (1.0,)
    ambiguous: bool = False


@dataclass(frozen=True)
class Scanner:
    """``intensity`` bends the grey values (v ** intensity); ``blur`` is a Gaussian's standard
    deviation in pixels of a 64 x 64 image; ``noise_std`` stands on images in [0, 1]."""

    intensity: float
    blur: float
    noise_std: float


@final
class PhantomDataset(SliceDataset):
    """Phantoms made once and held in memory. A finding's mask is where it changes the noise-free
    picture, by more than ``VISIBLE`` of the grey scale; masks are made when they are asked for."""

    def __init__(
        self, table: SliceTable, pictures: np.ndarray, anatomy: Anatomy, amount: np.ndarray
    ) -> None:
        self.table = table
        self.shape = (pictures.shape[1], pictures.shape[2])
        self.mask_names = FINDINGS
        self._pictures = torch.from_numpy(pictures)
        self._anatomy, self._amount = anatomy, amount
        self._masks: dict[int, torch.Tensor] = {}

    def images(self, indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        return self._pictures[torch.as_tensor(np.asarray(indices, dtype=np.int64))]

    def masks(self, indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        rows = np.asarray(indices, dtype=np.int64)
        missing = np.array([row for row in np.unique(rows) if row not in self._masks], np.int64)
        for start in range(0, len(missing), _MASKS_AT_ONCE):
            part = missing[start : start + _MASKS_AT_ONCE]
            self._masks |= dict(zip(part.tolist(), self._outlined(part)))
        found = [self._masks[row] for row in rows.tolist()]
        return torch.stack(found) if found else super().masks(indices)

    def _outlined(self, rows: np.ndarray) -> torch.Tensor:
        anatomy, amount, size = self._anatomy.take(rows), self._amount[rows], self.shape[0]
        whole, masks = draw_slices(anatomy, amount, size), []
        for finding in range(len(FINDINGS)):
            without = amount.copy()
            without[:, finding] = 0.0
            masks.append(np.abs(draw_slices(anatomy, without, size) - whole) > VISIBLE)
        return torch.from_numpy(np.stack(masks, axis=1).astype(np.uint8))


def open_phantom(uri: DataUri) -> tuple[SliceDataset, Selection]:
    """The phantoms that a ``phantom:`` URI describes. Every fifth patient is for validation.

    A patient depends on seed, hospital and number alone: more patients add to those there are.
    """
    options = read_options(PhantomOptions, uri)
    _check(options, uri)
    names = options.hospital or tuple(
        [f"H{i + 1}" for i in range(options.hospitals)]
        if options.hospitals > 1
        else [DEFAULT_HOSPITAL]
    )
    if options.ambiguous:
        return _discs(options, names), replace(options, hospitals=1, raters=0)
    parts = [
        make_hospital(
            name,
            options,
            _per_hospital(options.prevalence, names, i, uri, "prevalence"),
            _per_hospital(options.intensity, names, i, uri, "intensity"),
        )
        for i, name in enumerate(names)
    ]
    tables, pictures, anatomies, amounts = zip(*parts)
    dataset = PhantomDataset(
        *(_joined(list(tables)), np.concatenate(pictures)),
        *(concatenate(list(anatomies)), np.concatenate(amounts)),
    )
    return dataset, replace(options, hospitals=1)


def _discs(options: PhantomOptions, names: tuple[str, ...]) -> AmbiguousPhantom:
    raters = options.raters or DEFAULT_RATERS
    counts = (options.patients, options.slices, raters, options.seed)
    tables, discs, levels = zip(*(draw_discs(name, _code(name), *counts) for name in names))
    found = (_joined(list(tables)), np.concatenate(discs))
    return AmbiguousPhantom(*found, options.size, np.concatenate(levels))


def make_hospital(
    name: str, options: PhantomOptions, prevalence: float, intensity: float
) -> tuple[SliceTable, np.ndarray, Anatomy, np.ndarray]:
    """Table and images (n, size, size) of one hospital, and of what they were drawn."""
    anatomy, amount = draw_population(
        name, options.patients, options.slices, prevalence, options.seed
    )
    scanner = scanner_of(name, intensity)
    noise = np.random.default_rng([options.seed, _code(name), 1])
    pictures = np.empty((len(amount), options.size, options.size), dtype=np.float32)
    per_chunk = max(1, _PIXELS_AT_ONCE // options.size**2 // options.slices) * options.slices
    for start in range(0, len(amount), per_chunk):
        rows = slice(start, start + per_chunk)
        clean = draw_slices(anatomy.take(rows), amount[rows], options.size)
        pictures[rows] = scan(clean, options.slices, scanner, noise)
    patients = np.repeat(
        [f"{name}-{options.seed}-{k:04d}" for k in range(options.patients)], options.slices
    )
    number = np.repeat(np.arange(options.patients), options.slices)
    table = SliceTable(
        patients=patients,
        labels=(amount > 0.0).astype(np.uint8),
        label_names=FINDINGS,
        exclusive=False,
        split=np.where(number % 5 == 4 if options.patients >= 5 else number == 1, "val", "train"),
        hospital=np.full(len(amount), name),
        position=0.5 + 0.5 * anatomy.level[:, 0].astype(np.float64),
    )
    return table, pictures, anatomy, amount


def draw_population(
    name: str, n_patients: int, n_slices: int, prevalence: float, seed: int
) -> tuple[Anatomy, np.ndarray]:
    """Anatomy of n = patients x slices slices, and how much of each finding they show (n, 3).

    Findings go to patients by a low-discrepancy sequence, so every stretch of patients has its
    share of each and of each combination. In a patient a finding fills a run of neighbouring
    slices, at least half of them, strongest in the middle; its severity is the patient's.
    """
    offset = np.random.default_rng([seed, _code(name)]).uniform(size=len(FINDINGS))
    strides = _STRIDE ** np.arange(1, len(FINDINGS) + 1)
    anatomies, amounts = [], []
    for k in range(n_patients):
        generator = np.random.default_rng([seed, _code(name), 2, k])
        has = (offset + k * strides) % 1.0 < prevalence
        anatomies.append(draw_patient(generator, n_slices))
        amounts.append(_runs(generator, n_slices) * has)
    return concatenate(anatomies), np.concatenate(amounts).astype(np.float32)


def scanner_of(name: str, intensity: float = 1.0) -> Scanner:
    """The scanner of a hospital: blur and noise follow from its name."""
    first, second = (_code(name) >> shift & 0xFF for shift in (0, 8))
    return Scanner(intensity, 0.30 + 0.25 * first / 255, 0.012 + 0.012 * second / 255)


def scan(
    clean: np.ndarray, n_slices: int, scanner: Scanner, generator: np.random.Generator
) -> np.ndarray:
    """Magnitude images in [0, 1] of noise-free pictures (n, H, W), whole patients in a row."""
    blur = scanner.blur * clean.shape[-1] / 64.0
    bent = gaussian_filter(clean, (0.0, blur, blur)) ** scanner.intensity
    noise = generator.standard_normal((2, *clean.shape), dtype=np.float32) * scanner.noise_std
    volumes = np.hypot(bent + noise[0], noise[1]).reshape(-1, n_slices, *clean.shape[1:])
    scale = np.percentile(volumes, 99.9, axis=(1, 2, 3))
    return normalise(volumes, scale[:, None, None, None]).reshape(clean.shape)


def _runs(generator: np.random.Generator, n_slices: int) -> np.ndarray:
    length = generator.integers((n_slices + 1) // 2, n_slices + 1, size=len(FINDINGS))
    start = np.floor(generator.uniform(size=len(FINDINGS)) * (n_slices - length + 1))
    number = np.arange(n_slices)[:, None] - start
    severity = generator.uniform(0.4, 1.0, size=len(FINDINGS))
    hill = 1.0 - 0.3 * np.abs(2.0 * (number + 0.5) / length - 1.0)
    return np.where((number >= 0) & (number < length), severity * hill, 0.0)


def _joined(tables: list[SliceTable]) -> SliceTable:
    return replace(
        tables[0],
        patients=np.concatenate([t.patients for t in tables]),
        labels=np.concatenate([t.labels for t in tables]),
        split=np.concatenate([t.split for t in tables]),
        hospital=np.concatenate([t.hospital for t in tables]),
        position=np.concatenate([t.position for t in tables]),
    )


def _per_hospital(
    values: tuple[float, ...], names: tuple[str, ...], index: int, uri: DataUri, option: str
) -> float:
    if len(values) not in (1, len(names)):
        raise InputError(
            f"{uri.text} {option}",
            f"one value or {len(names)} (one per hospital)",
            f"{len(values)}",
            "give one per hospital, separated by commas",
        )
    return values[index if len(values) > 1 else 0]


def _check(options: PhantomOptions, uri: DataUri) -> None:
    if uri.path:
        raise InputError(uri.text, "phantom:?options", f"a path '{uri.path}'", "drop the path")
    options.check(uri.text)
    at_least(options.patients, 2, uri.text, "patients")
    at_least(options.slices, 1, uri.text, "slices")
    at_least(options.size, 16, uri.text, "size")
    at_least(options.seed, 0, uri.text, "seed")
    if not all(0.0 <= p <= 1.0 for p in options.prevalence):
        raise InputError(
            f"{uri.text} prevalence", "a share in [0, 1]", f"{options.prevalence}", "fix it"
        )
    if not all(0.1 <= i <= 10.0 for i in options.intensity):
        raise InputError(
            f"{uri.text} intensity", "an exponent in [0.1, 10]", f"{options.intensity}", "fix it"
        )


def _code(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
