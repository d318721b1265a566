"""What scoring needs of sampled segmentations: distances, overlaps and calibration of a slice."""

import itertools

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from infomri_core.data.base import ABSENT
from infomri_core.physics.kspace import zero_fill
from infomri_core.summaries.overlap import BANDS, COLUMNS, N_BINS

BAND = 10
"""Pixels from a boundary within which calibration is asked once more: elsewhere nearly every
pixel is right without looking."""
GRID, FINE = 8, 64
"""Sides of the grid on which it is said where a segmentation is, for what it gives away, and of
the finest on which distances are taken for it."""
Floats = npt.NDArray[np.float64]
_SHARP = 20.0
N_EVIDENCE = 1 + len(COLUMNS) + len(BANDS) * N_BINS * 3


def log_probabilities(logits: Tensor) -> Tensor:
    """log p of background and classes (..., 1 + K, H, W) from ``logits`` (..., C, H, W): one logit
    of a sigmoid for one class, else those of a softmax."""
    if logits.shape[-3] == 1:
        return torch.cat((functional.logsigmoid(-logits), functional.logsigmoid(logits)), -3)
    return logits.log_softmax(-3)


def indicators(labels: Tensor, n_classes: int) -> Tensor:
    """Zeros and ones (..., K, H, W) of each class in ``labels`` (..., H, W); absent is nowhere."""
    number = torch.arange(1, n_classes + 1, device=labels.device)[:, None, None]
    return (labels[..., None, :, :] == number).float()


def drawn_rater(targets: Tensor, normal: Tensor) -> Tensor:
    """Of each slice the label map (B, H, W) of one rater who looked, uniformly by a standard
    ``normal`` number (B,); absent where no one did."""
    present = targets.flatten(2)[..., 0] != ABSENT
    n = present.sum(1)
    level = torch.special.ndtr(normal.to(torch.float64)).clamp(0, 1)
    chosen = torch.minimum((level * n).long() + 1, n)
    place = ((present.cumsum(1) == chosen[:, None]) & present).int().argmax(1)
    return targets[torch.arange(len(targets), device=targets.device), place]


def negative_log_likelihood(logits: Tensor, labels: Tensor) -> Tensor:
    """- log p(labels), summed over pixels, zero where no one looked: ``logits`` (..., C, H, W),
    ``labels`` (..., H, W)."""
    known = labels != ABSENT
    place = torch.where(known, labels, 0).long()[..., None, :, :]
    each = log_probabilities(logits).gather(-3, place)[..., 0, :, :]
    return -(each * known).sum((-2, -1))


@torch.no_grad()
def evidence(logits: Tensor, targets: Tensor, n_classes: int) -> Tensor:
    """A row of numbers a slice (B, N_EVIDENCE), from samples' ``logits`` (B, S, C, H, W) and the
    raters' label maps (B, R, H, W): whether anyone outlined it, the columns of
    :mod:`infomri_core.summaries.overlap`, and its bins. All lie in [0, 1]."""
    logits = torch.nan_to_num(logits.float(), nan=0.0, posinf=1e4, neginf=-1e4).clamp(-1e4, 1e4)
    probability = log_probabilities(logits).exp()
    drawn, mean = likeliest(probability), probability.mean(1)[:, 1:]
    fused = likeliest(probability.mean(1))
    present = (targets.flatten(2)[..., 0] != ABSENT).float()
    votes = indicators(targets, n_classes) * present[..., None, None, None]
    n_raters = present.sum(1)
    share = votes.sum(1) / n_raters.clamp(min=1)[:, None, None, None]
    cuts = nested(mean, drawn.shape[1])
    *found, a_levels, b_levels = _distances(drawn, votes, fused, present, share, cuts)
    brier = (mean.square() - 2 * mean * share + share).mean((-3, -2, -1))
    columns = torch.stack([*found, brier, a_levels, b_levels], dim=1)
    near = _near(torch.cat((votes, fused[:, None]), 1)).expand_as(mean)
    bins = torch.stack([_bins(mean, share, torch.ones_like(mean)), _bins(mean, share, near)], 1)
    known = (n_raters > 0).float()[:, None]
    whole = torch.cat((known, columns * known, bins.flatten(1) * known), dim=1)
    return whole.clamp(0, 1)


def nested(probability: Tensor, n: int) -> Tensor:
    """``n`` masks (B, n, K, H, W) of a probability (B, K, H, W), at levels 1/2n, 3/2n, ..: what a
    network without latents can offer as samples. They are right where raters' outlines are nested,
    and each at a level of its own."""
    at = (torch.arange(n, device=probability.device) + 0.5) / n
    return (probability[:, None] > at[:, None, None, None]).float()


def threshold_logits(logits: Tensor, n: int) -> Tensor:
    """Logits (B, n, C, H, W), nearly certain, of the classes at ``n`` levels of the probability
    that ``logits`` (B, 1, C, H, W) say: the mean of their probabilities is that one, in steps."""
    at = torch.logit((torch.arange(n, device=logits.device) + 0.5) / n)[:, None, None, None]
    if logits.shape[2] == 1:
        return _SHARP * (logits - at)
    background = logits[:, :, :1] + at
    return _SHARP * torch.cat((background, logits[:, :, 1:].expand(-1, n, -1, -1, -1)), dim=2)


def likeliest(probability: Tensor) -> Tensor:
    """Zeros and ones (..., K, H, W): where each class but the background, the first of
    ``probability`` (..., 1 + K, H, W), is the likeliest; of equal ones the first is."""
    most = probability == probability.amax(-3, keepdim=True)
    return (most & (most.cumsum(-3) == 1))[..., 1:, :, :].float()


def parts(found: Floats) -> tuple[npt.NDArray[np.bool_], Floats, Floats]:
    """Of :func:`evidence` (n, N_EVIDENCE): who was outlined (n,), the columns (n, F), and the bins
    (n, 2, N_BINS, 3)."""
    n = 1 + len(COLUMNS)
    bins = found[:, n:].reshape(-1, len(BANDS), N_BINS, 3)
    return found[:, 0] > 0.5, found[:, 1:n], bins


def features(logits: Tensor) -> Tensor:
    """What a segmentation gives away of the image (B, K 2 GRID^2): on a grid, how likely each
    class is there, and how far inside or outside of it one is. In the distance an image is nearer
    to linear than in the mask alone."""
    probability = log_probabilities(torch.nan_to_num(logits.float())).exp().mean(1)[:, 1:]
    height, width = probability.shape[-2:]
    coarse = functional.adaptive_avg_pool2d(probability, (min(height, FINE), min(width, FINE)))
    depth = signed_distance((coarse > 0.5).flatten(0, 1)).view_as(coarse)
    depth = (depth / (min(coarse.shape[-2:]) / 8)).tanh()
    parts = [functional.adaptive_avg_pool2d(part, GRID) for part in (probability, depth)]
    return torch.cat(parts, dim=1).flatten(1)


def n_features(n_classes: int) -> int:
    """How many :func:`features` there are."""
    return 2 * n_classes * GRID**2


def _distances(
    drawn: Tensor, votes: Tensor, fused: Tensor, present: Tensor, share: Tensor, cuts: Tensor
) -> list[Tensor]:
    """All columns but the Brier score, (B,) each, of masks (B, S | R, K, H, W), fused (B, K, H, W)
    and the share of votes (B, K, H, W). Two empty masks agree."""
    n, n_raters = drawn.shape[1], present.sum(1)
    levels = torch.arange(votes.shape[1], device=votes.device)[:, None, None, None]
    voted = (share[:, None] * n_raters[:, None, None, None, None] > levels + 0.5).float()
    majority = (share > 0.5).float()
    parts = (drawn, votes, voted, fused[:, None], majority[:, None], cuts)
    masks = torch.cat(parts, dim=1).movedim(2, 1).flatten(3)
    common = masks @ masks.mT
    area = common.diagonal(dim1=-2, dim2=-1)
    total = area[..., :, None] + area[..., None, :]
    nothing = total < 0.5
    iou = torch.where(nothing, 1, common / (total - common).clamp(min=1)).mean(1)
    dsc = torch.where(nothing, 1, 2 * common / total.clamp(min=1)).mean(1)
    s, r, v, f, m, q = _spans([part.shape[1] for part in parts])
    pair = 1 - iou
    of_rater = present / n_raters.clamp(min=1)[:, None]
    a, a_levels = ((pair[:, k, r].mean(1) * of_rater).sum(1) for k in (s, q))
    b, b_levels = (pair[:, k, k].sum((1, 2)) / max(1, n * (n - 1)) for k in (s, q))
    both = present[:, :, None] * present[:, None]
    of_pairs = (pair[:, r, r] * both).sum((1, 2))
    c = of_pairs / (n_raters * (n_raters - 1)).clamp(min=1)
    floor = (pair[:, v, r] * of_rater[:, None]).sum(2).amin(1)
    own = (pair[:, f, r][:, 0] * of_rater).sum(1)
    dsc_pairs = (dsc[:, s, r].mean(1) * of_rater).sum(1)
    c_of_r = of_pairs / n_raters.square().clamp(min=1)
    rest = [dsc_pairs, dsc[:, f, m][:, 0, 0], iou[:, f, m][:, 0, 0]]
    return [a, b, c, b * (n - 1) / n, c_of_r, floor, own, *rest, a_levels, b_levels]


def _spans(sizes: list[int]) -> list[slice]:
    ends = np.cumsum([0, *sizes])
    return [slice(int(a), int(b)) for a, b in itertools.pairwise(ends)]


def _bins(mean: Tensor, share: Tensor, weight: Tensor) -> Tensor:
    """(B, N_BINS, 3): probability, outlined share and number of pixels by bins of equal width of
    the probability, the first with zero in it; per pixel and class of the slice."""
    place = ((mean * N_BINS).ceil().long() - 1).clamp(0, N_BINS - 1).flatten(1)
    values = torch.stack([v.flatten(1) for v in (mean * weight, share * weight, weight)], -1)
    # Bin by bin: a scatter takes longer where all pixels are of one.
    each = [((place == n)[..., None] * values).sum(1) for n in range(N_BINS)]
    return torch.stack(each, dim=1) / max(1, mean[0].numel())


def _near(masks: Tensor) -> Tensor:
    """Ones within BAND pixels of any boundary of ``masks`` (B, M, K, H, W), (B, K, H, W)."""
    flat = masks.flatten(0, 1)
    inside, whole = _counted(flat), _counted(torch.ones_like(flat[:1, :1]))
    near: Tensor = ((inside > 0) & (inside < whole)).float()
    return near.unflatten(0, masks.shape[:2]).amax(1)


def _counted(masks: Tensor) -> Tensor:
    """How many ones of ``masks`` (N, K, H, W) lie within BAND pixels, along rows and columns."""
    for kernel in ((2 * BAND + 1, 1), (1, 2 * BAND + 1)):
        pad = (kernel[0] // 2, kernel[1] // 2)
        masks = functional.avg_pool2d(masks, kernel, 1, pad, divisor_override=1)
    return masks


def signed_distance(inside: Tensor) -> Tensor:
    """Distance in pixels (N, H, W) to the nearest pixel on the other side of the masks ``inside``
    (N, H, W), positive inside, of at most the longer side. Every pixel is held against every
    other of its column, then row: it takes the same time whatever the masks."""
    most = float(max(inside.shape[1:]))
    both = torch.cat((inside, ~inside))
    square = torch.where(both, 2 * most**2, 0.0)
    for axis in (1, 2):
        steps = torch.arange(square.shape[axis], dtype=square.dtype, device=square.device)
        apart = (steps[:, None] - steps).square()
        moved = square.movedim(axis, -1)
        near = torch.stack([(moved + row).amin(-1) for row in apart], dim=-1)
        square = near.movedim(-1, axis)
    own, other = square.sqrt().clamp(max=most).chunk(2)
    return own - other


def two_channels(measurement: Tensor) -> Tensor:
    """Real and imaginary part (B, 2, H, W) of the zero-filled image."""
    return torch.view_as_real(zero_fill(measurement)).movedim(-1, -3)
