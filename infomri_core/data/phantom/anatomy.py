"""Sagittal knees drawn from numbers: the anatomy of a patient, and the picture of a slice.

Coordinates run over [-1, 1], x from front to back, y from hip to foot. Every structure is a soft
region; later ones are painted over earlier ones.
"""

from dataclasses import dataclass, fields

import numpy as np

FINDINGS = ("tear", "oedema", "texture")
N_SHAPE, N_TISSUE, N_WARP = 10, 9, 12


@dataclass(frozen=True)
class Anatomy:
    """Parameters of n slices, each array (n, ...): standard normal unless said otherwise.

    ``shape`` sizes and places, ``tissue`` grey values, ``warp`` a smooth deformation, ``bias`` the
    receive field; ``level`` is the slice's place in the knee, in [-1, 1]; ``tear``, ``oedema`` and
    ``texture`` are uniform in [0, 1] and place the findings.
    """

    shape: np.ndarray
    tissue: np.ndarray
    warp: np.ndarray
    bias: np.ndarray
    level: np.ndarray
    tear: np.ndarray
    oedema: np.ndarray
    texture: np.ndarray

    def take(self, rows: np.ndarray | slice) -> "Anatomy":
        """The parameters of some rows."""
        return Anatomy(*(getattr(self, field.name)[rows] for field in fields(self)))


def draw_patient(generator: np.random.Generator, n_slices: int) -> Anatomy:
    """One patient's parameters for ``n_slices`` slices: the same knee, cut at steady steps."""
    centre = generator.uniform(-0.1, 0.1)
    spread = 0.6 if n_slices > 1 else 0.0
    level = centre + spread * np.linspace(-1.0, 1.0, n_slices)

    def same(values: np.ndarray) -> np.ndarray:
        return np.broadcast_to(values.astype(np.float32), (n_slices, values.size))

    return Anatomy(
        shape=same(generator.standard_normal(N_SHAPE)),
        tissue=same(generator.standard_normal(N_TISSUE)),
        warp=same(generator.standard_normal(N_WARP)),
        bias=same(generator.standard_normal(4)),
        level=level.astype(np.float32)[:, None],
        tear=same(generator.uniform(size=4)),
        oedema=same(generator.uniform(size=5)),
        texture=same(generator.uniform(size=6)),
    )


def concatenate(parts: list[Anatomy]) -> Anatomy:
    """The rows of several anatomies, one after another."""
    names = [field.name for field in fields(Anatomy)]
    return Anatomy(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))


def draw_slices(anatomy: Anatomy, amount: np.ndarray, size: int) -> np.ndarray:
    """Noise-free pictures (n, size, size), float32, of the anatomy with its findings.

    ``amount`` (n, 3), in [0, 1], is how much of each finding of ``FINDINGS`` a slice shows.
    """
    x, y = _warped_grid(anatomy, size)
    shape, level = anatomy.shape, anatomy.level
    s = tuple(shape[:, i, None, None] for i in range(N_SHAPE))
    z = level[:, 0, None, None]
    a = tuple(amount[:, i, None, None].astype(np.float32) for i in range(len(FINDINGS)))
    g = _grey_values(anatomy.tissue)
    soft = np.float32(1.2 / size)
    paint = _Painter(np.full(x.shape, 0.02, dtype=np.float32), soft)

    middle = 0.06 * s[0] + 0.05 * y
    leg = 0.80 + 0.035 * s[1] - 0.05 * z - 0.10 * (y + 0.1) ** 2 - np.abs(x - middle)
    paint(leg, g["fat"])
    paint(leg - 0.10 - 0.025 * s[2], g["muscle"])
    _paint_muscle_texture(paint, anatomy, leg, x, y, a[2])

    femur = np.maximum(
        _ellipse(x, y, 0.06, -0.20, 0.45 + 0.02 * s[3] + 0.04 * z, 0.35 + 0.015 * s[4]),
        np.minimum(0.27 + 0.02 * s[5] - np.abs(x - 0.02), -0.25 - y),
    )
    tibia = np.minimum(
        _ellipse(x, y, 0.06, 0.62, 0.47 + 0.02 * s[3] + 0.03 * z, 0.42 + 0.02 * s[6], power=3),
        0.30 + 0.02 * s[5] + 0.22 * _sigmoid((0.62 - y) / 0.08) - np.abs(x - 0.06),
    )
    tibia = np.maximum(tibia, np.minimum(0.27 - np.abs(x - 0.06), y - 0.6))
    hoffa = _ellipse(x, y, -0.42, 0.14, 0.20 + 0.02 * s[7], 0.26)
    paint(hoffa, g["hoffa"])
    paint(_band(x, y, -0.60, 0.24, 0.30 + 0.05 * s[7], 0.42, 0.030), g["dark"])
    paint(_band(x, y, -0.52, -0.78, 0.30, 0.30, 0.030), g["dark"])
    paint(_band(x, y, 0.06, 0.16, 0.9 + 0.1 * s[8], 0.12, 0.035), g["ligament"])

    inside = _sigmoid(np.maximum(femur, tibia) / soft)
    for bone in (femur, tibia):
        paint(np.minimum(bone + 0.055 + 0.006 * s[9], 0.34 - np.abs(y - 0.15)), g["cartilage"])
        paint(bone, g["dark"])
        paint(bone - 0.032, g["marrow"])
    _paint_trabeculae(paint, anatomy, np.maximum(femur, tibia) - 0.05, x, y)
    paint.add(inside * _oedema(anatomy, femur, tibia, x, y) * a[1] * 0.32)
    _paint_patella(paint, s, g, x, y)
    _paint_menisci(paint, anatomy, s, g, x, y, a[0])
    return np.maximum(paint.picture * _bias_field(anatomy.bias, x, y), 0.0)


class _Painter:
    """A stack of pictures that soft regions are painted on."""

    def __init__(self, picture: np.ndarray, soft: np.float32) -> None:
        self.picture = picture
        self._soft = soft

    def __call__(self, distance: np.ndarray, grey: np.ndarray | float) -> None:
        """Paint where ``distance`` (inside positive) says so, over an edge of a pixel or two."""
        self.picture += _sigmoid(distance / self._soft) * (grey - self.picture)

    def add(self, light: np.ndarray) -> None:
        """Add light."""
        self.picture += light


def _paint_menisci(
    paint: _Painter,
    anatomy: Anatomy,
    s: tuple[np.ndarray, ...],
    g: dict[str, np.ndarray],
    x: np.ndarray,
    y: np.ndarray,
    amount: np.ndarray,
) -> None:
    """Two dark wedges between the bones; a tear is a fine bright line across one of them."""
    t = tuple(anatomy.tear[:, i, None, None] for i in range(4))
    height = 0.175 + 0.012 * s[9]
    for side, centre in ((-1.0, -0.27), (1.0, 0.39)):
        u = (x - centre) * side
        wedge = np.minimum(0.16 - np.abs(u), 0.06 + 0.42 * u - np.abs(y - height) + 0.03)
        paint(wedge, g["meniscus"])
        here = (t[0] < 0.15) if side < 0 else (t[0] >= 0.15)
        angle = (0.25 + 0.9 * t[1]) * np.where(t[3] < 0.5, -1.0, 1.0)
        across = (u - 0.06 + 0.08 * t[2]) * np.sin(angle) + (y - height) * np.cos(angle)
        line = np.minimum(0.036 - np.abs(across), wedge + 0.01)
        paint.picture += (
            _sigmoid(line / np.float32(0.012)) * amount * here * (g["fluid"] - paint.picture)
        )


def _paint_patella(
    paint: _Painter,
    s: tuple[np.ndarray, ...],
    g: dict[str, np.ndarray],
    x: np.ndarray,
    y: np.ndarray,
) -> None:
    cx, cy = -0.57 + 0.02 * s[7], -0.26 + 0.04 * s[8]
    u, v = x - cx - 0.12 * (y - cy), y - cy
    patella = _ellipse(u, v, 0.0, 0.0, 0.105 + 0.008 * s[4], 0.20 + 0.015 * s[6])
    paint(np.minimum(patella + 0.045, u + 0.02), g["cartilage"])
    paint(patella, g["dark"])
    paint(patella - 0.03, g["marrow"])


def _paint_muscle_texture(
    paint: _Painter,
    anatomy: Anatomy,
    leg: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    amount: np.ndarray,
) -> None:
    """Fibres of the muscles: faint in health, coarse and strong as a finding."""
    t = tuple(anatomy.texture[:, i, None, None] for i in range(6))
    muscle = _sigmoid((leg - 0.13) / 0.03)
    z = anatomy.level[:, 0, None, None]
    two_pi = np.float32(2.0 * np.pi)

    def fibres(wavelength: np.ndarray, angle: np.ndarray, phase: np.ndarray) -> np.ndarray:
        along = x * np.cos(angle) + y * np.sin(angle)
        return np.sin(two_pi * (along / wavelength + phase))

    healthy = fibres(0.26 + 0.10 * t[0], 0.25 * (t[1] - 0.5), t[2] + z)
    sick = fibres(0.17 + 0.04 * t[3], 0.9 + 0.3 * (t[4] - 0.5), t[5] + z)
    paint.add(muscle * (0.02 * healthy + 0.18 * amount * (sick + 0.3)))


def _paint_trabeculae(
    paint: _Painter, anatomy: Anatomy, bone: np.ndarray, x: np.ndarray, y: np.ndarray
) -> None:
    """A smooth, patient-specific unevenness of the marrow."""
    w = tuple(anatomy.warp[:, i, None, None] for i in range(N_WARP))
    z = anatomy.level[:, 0, None, None]
    pattern = np.sin(5.0 * x + 2.0 * w[0] + 3.0 * z) * np.sin(6.0 * y + 2.0 * w[1] - 2.0 * z)
    paint.add(_sigmoid(bone / np.float32(0.04)) * (0.035 * pattern))


def _oedema(
    anatomy: Anatomy, femur: np.ndarray, tibia: np.ndarray, x: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """A bright blur in the marrow next to the joint, in femur or tibia."""
    t = tuple(anatomy.oedema[:, i, None, None] for i in range(5))
    in_femur = t[0] < 0.5
    cx = 0.06 + 0.5 * (t[1] - 0.5)
    cy = np.where(in_femur, -0.16 + 0.16 * (t[2] - 0.5), 0.42 + 0.12 * (t[2] - 0.5))
    width = 0.11 + 0.06 * t[3]
    bone = np.where(in_femur, femur, tibia)
    blur = np.exp(-((x - cx) ** 2 + ((y - cy) * (1.1 + 0.4 * t[4])) ** 2) / (2.0 * width**2))
    return blur * _sigmoid((bone - 0.03) / np.float32(0.03))


def _grey_values(tissue: np.ndarray) -> dict[str, np.ndarray]:
    base = {
        "fat": 0.36,
        "muscle": 0.30,
        "marrow": 0.22,
        "hoffa": 0.30,
        "cartilage": 0.58,
        "dark": 0.06,
        "ligament": 0.10,
        "meniscus": 0.06,
        "fluid": 0.90,
    }
    return {
        name: (grey * (1.0 + 0.08 * tissue[:, i, None, None])).astype(np.float32)
        for i, (name, grey) in enumerate(base.items())
    }


def _warped_grid(anatomy: Anatomy, size: int) -> tuple[np.ndarray, np.ndarray]:
    axis = (2.0 * np.arange(size, dtype=np.float32) + 1.0 - size) / size
    y, x = (grid[None] for grid in np.meshgrid(axis, axis, indexing="ij"))
    w = tuple(anatomy.warp[:, i, None, None] for i in range(N_WARP))
    z = anatomy.level[:, 0, None, None]
    angle = 0.05 * w[0] + 0.08 * z
    scale = 1.0 + 0.03 * w[1] + 0.06 * z**2
    x = x - 0.025 * w[2] - 0.05 * z
    y = y - 0.03 * w[3]
    u = scale * (x * np.cos(angle) - y * np.sin(angle))
    v = scale * (x * np.sin(angle) + y * np.cos(angle))
    bend_x = 0.016 * np.sin(2.3 * v + 3.0 * w[4] + 3.0 * z) * w[5]
    bend_y = 0.016 * np.sin(2.3 * u + 3.0 * w[6] - 3.0 * z) * w[7]
    return u + bend_x, v + bend_y


def _bias_field(bias: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    b = tuple(bias[:, i, None, None] for i in range(4))
    return np.exp(0.06 * (b[0] * x + b[1] * y + b[2] * x * y + b[3] * (x**2 - y**2)))


def _ellipse(
    x: np.ndarray,
    y: np.ndarray,
    cx: np.ndarray | float,
    cy: np.ndarray | float,
    rx: np.ndarray | float,
    ry: np.ndarray | float,
    power: int = 2,
) -> np.ndarray:
    """About the distance to the (super-)ellipse's edge, positive inside."""
    u, v = np.abs((x - cx) / rx), np.abs((y - cy) / ry)
    rho = np.sqrt(u * u + v * v) if power == 2 else (u**power + v**power) ** (1.0 / power)
    return (1.0 - rho) * np.minimum(rx, ry)


def _band(
    x: np.ndarray,
    y: np.ndarray,
    cx: float,
    cy: float,
    slope: np.ndarray | float,
    half_length: float,
    half_width: float,
) -> np.ndarray:
    """A straight band through (cx, cy), x growing by ``slope`` per y."""
    across = half_width - np.abs(x - cx - slope * (y - cy))
    return np.minimum(across, half_length - np.abs(y - cy))


def _sigmoid(value: np.ndarray) -> np.ndarray:
    return (0.5 + 0.5 * np.tanh(0.5 * value)).astype(np.float32, copy=False)
