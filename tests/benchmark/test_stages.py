"""Laws of baselines in stages: what is frozen does not move, what is trained does, and learns."""

from collections.abc import Iterator

import pytest
import torch

from infomri_core.benchmark import stages
from infomri_core.benchmark.latent_study import Setting
from infomri_core.benchmark.stages import PROTOCOLS, SAMPLER, fresh, measured, trained_in_stages
from infomri_core.data import open_dataset
from infomri_core.randomness.seeds import torch_generator

DISCS = "phantom:?ambiguous=1&size=32&patients=40&slices=1"


def setting(steps: int = 3) -> Setting:
    return Setting(open_dataset(DISCS), DISCS, (4.0, 16.0), steps, 8, False, 0, "cpu")


def parts_of(model: stages.Staged) -> Iterator[tuple[str, torch.Tensor]]:
    yield from ((SAMPLER, p.detach().clone()) for p in model.sampler.parameters())
    for name, part in model.parts.items():
        yield from ((name, p.detach().clone()) for p in part.parameters())


@pytest.mark.parametrize("name", PROTOCOLS)
def test_each_stage_moves_what_it_trains_and_nothing_else(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    protocol, moved = PROTOCOLS[name], []
    train = stages._train

    def watched(model: stages.Staged, *rest: object) -> None:
        before = list(parts_of(model))
        train(model, *rest)  # type: ignore[arg-type]
        after = list(parts_of(model))
        moved.append({n for (n, a), (_, b) in zip(before, after) if not torch.equal(a, b)})

    monkeypatch.setattr(stages, "_train", watched)
    model = trained_in_stages(protocol, setting())
    assert moved == [set(stage.trains) for stage in protocol.stages]
    images = setting().dataset.images([0, 1])
    y = measured(model.sampler, images, 0.1, 0.02, torch_generator("test"))
    assert model.logits(y).shape == (2, 1, 32, 32) and not model.training


@pytest.mark.parametrize("name", ["Tackle", "LOUPE-LI-Net"])
def test_the_sampler_has_a_gradient_where_its_stage_trains_it(name: str) -> None:
    made, protocol = setting(), PROTOCOLS[name]
    model = fresh(protocol, made, made.plan)
    with torch.no_grad():
        for parameter in model.parts.parameters():
            parameter += 0.01
    images = made.dataset.images([0, 1])
    y = measured(model.sampler, images, 0.1, 0.02, torch_generator("test"))
    batch = stages.Batch(images, (images > 0.5).long(), y)
    protocol.stages[-1].loss(model, batch, 1).backward()
    assert all(float(p.grad.abs().max()) > 0 for p in model.sampler.parameters())


def test_the_same_seed_gives_the_same_model() -> None:
    first, second = (trained_in_stages(PROTOCOLS["Tackle"], setting(1)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters()))


def test_the_outline_network_finds_an_outline_on_true_images() -> None:
    made = setting()
    network = fresh(PROTOCOLS["Tackle"], made, made.plan).parts["outline"]
    images = made.dataset.images(range(16))[:, None]
    wanted = (images > 0.5).float()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(40):
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(network(images), wanted).backward()
        optimizer.step()
    found = torch.sigmoid(network(images)).detach()
    assert found[wanted == 1].mean() > 0.5 > found[wanted == 0].mean()
