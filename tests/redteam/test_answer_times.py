"""How long a scoring takes says nothing of what networks make of an image, whose weights the study
centre chose: equal or ordered pixels were sorted, and empty outlines measured, in a third of the
time of others. What is asked instead has the same result."""

import ast
from pathlib import Path

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt
from torch.nn.functional import max_pool2d

from infomri_core.physics import calibration
from infomri_core.tasks.outlining import scores

HANG_ON_NUMBERS = {
    "sort",
    "unique",
    "topk",
    "max_pool2d",
    "scatter_add_",
    "distance_transform_edt",
}


def test_scores_of_images_call_nothing_that_takes_longer_for_some() -> None:
    sorted_in = []
    for module in (calibration, scores):
        tree = ast.parse(Path(str(module.__file__)).read_text())
        for function in (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)):
            names = {n.attr for n in ast.walk(function) if isinstance(n, ast.Attribute)}
            names |= {n.id for n in ast.walk(function) if isinstance(n, ast.Name)}
            assert not names & HANG_ON_NUMBERS, function.name
            sorted_in += [function.name] if "argsort" in names else []
    assert sorted_in == ["_ranked"]


def test_equal_values_are_sorted_like_others_and_ranked_alike() -> None:
    values = torch.tensor([0.5, -1.0] * 500)
    first, second = calibration._ranked(values), calibration._ranked(values)
    for found in (first, second):
        assert torch.equal(values[found.order], values.sort().values)
        assert found.rank.unique().tolist() == [250.5, 750.5]
        assert found.sizes[:3].tolist() == [500, 500, 0]
        assert (found.order[:500].diff() < 0).sum() > 200
    assert not torch.equal(first.order, second.order)
    assert torch.equal(first.rank, second.rank) and torch.equal(first.group, second.group)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.02, 0.5, 1.0]))
@settings(max_examples=20, deadline=None)
def test_distances_boundaries_and_likeliest_classes_are_those_of_the_usual_ways(
    seed: int, share: float
) -> None:
    draw = np.random.default_rng(seed)
    inside = draw.random((3, 12, 9)) < share
    found = scores.signed_distance(torch.from_numpy(inside)).numpy()
    for mask, distance in zip(inside, found):
        if mask.all() or not mask.any():
            assert (distance == (12 if mask.any() else -12)).all()
            continue
        expected = distance_transform_edt(mask) - distance_transform_edt(~mask)
        assert np.allclose(distance, expected.clip(-12, 12), atol=1e-5)
    masks = torch.from_numpy(draw.random((2, 3, 1, 40, 33)) < share / 50).float()
    size = 2 * scores.BAND + 1
    grown, shrunk = (
        s * max_pool2d(s * masks.flatten(0, 1), size, 1, scores.BAND) for s in (1, -1)
    )
    near = (grown - shrunk).unflatten(0, (2, 3)).amax(1)
    assert torch.equal(scores._near(masks), near)
    probability = torch.from_numpy(draw.integers(0, 3, (2, 3, 5, 5)) / 2.0)
    expected_classes = scores.indicators(probability.argmax(-3), 2)
    assert torch.equal(scores.likeliest(probability), expected_classes)
