"""What an arm's beta asks of a task's loss terms, by its sign."""

import functools
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

IMAGE_ONLY = float("-inf")
"""The beta of an arm that learns the image and nothing else."""


def serves(terms: Collection[str], image_terms: Collection[str], beta: float) -> bool:
    """Whether there is anything to learn at ``beta``, and all that it asks for."""
    if beta == IMAGE_ONLY:
        return bool(image_terms)
    return not set(terms) <= set(image_terms) and (beta >= 0 or bool(image_terms))


def weighted(
    losses: Mapping[str, Tensor],
    weights: Mapping[str, float],
    image_terms: Collection[str],
    beta: float,
) -> Tensor:
    """sum_k w_k term_k, of each slice or of their mean. At ``beta`` >= 0 terms that ask for the
    image count nothing, below they weigh -beta beside the others, and at -inf they stand alone."""
    of_images, of_others = max(0.0, -beta), 1.0
    if beta == IMAGE_ONLY:
        of_images, of_others = 1.0, 0.0
    parts = []
    for name, weight in weights.items():
        weight = weight * (of_images if name in image_terms else of_others)
        if weight:
            parts.append(losses[name] if weight == 1 else weight * losses[name])
    return functools.reduce(torch.add, parts)
