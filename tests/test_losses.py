"""The loss against its definition, triplet by triplet."""

import math

import pytest
import torch

from blemish.learning.losses import euclidean_distance, triplet_softmax_loss


def distances(seed: int, n: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return 5 * torch.rand(n, generator=generator), 5 * torch.rand(n, generator=generator)


def test_distance_is_the_root_of_summed_squares() -> None:
    a, b = torch.rand(4, 16), torch.rand(4, 16)
    expected = [
        math.sqrt(sum((x - y) ** 2 for x, y in zip(p, q, strict=True)))
        for p, q in zip(a.tolist(), b.tolist(), strict=True)
    ]
    assert euclidean_distance(a, b).tolist() == pytest.approx(expected, rel=1e-5)


def test_distance_of_equal_embeddings_has_a_finite_gradient() -> None:
    a = torch.ones(2, 16, requires_grad=True)
    euclidean_distance(a, torch.ones(2, 16)).sum().backward()
    assert a.grad is not None
    assert a.grad.isfinite().all()


def test_loss_is_the_mean_absolute_error_of_the_softmax_against_one_zero() -> None:
    d1, d2 = distances(0)
    total = 0.0
    for x, y in zip(d1.tolist(), d2.tolist(), strict=True):
        s1 = math.exp(-x) / (math.exp(-x) + math.exp(-y))
        s2 = math.exp(-y) / (math.exp(-x) + math.exp(-y))
        total += (abs(s1 - 1) + abs(s2 - 0)) / 2
    assert triplet_softmax_loss(d1, d2).item() == pytest.approx(total / len(d1), rel=1e-5)


def test_loss_is_the_sigmoid_of_the_difference() -> None:
    d1, d2 = distances(1)
    torch.testing.assert_close(triplet_softmax_loss(d1, d2), torch.sigmoid(d1 - d2).mean())


def test_loss_falls_when_the_negative_moves_away_and_rises_when_the_positive_does() -> None:
    d1, d2 = distances(2)
    loss = triplet_softmax_loss(d1, d2)
    assert triplet_softmax_loss(d1, d2 + 0.5) < loss < triplet_softmax_loss(d1 + 0.5, d2)


def test_gradient_pulls_the_positive_in_and_pushes_the_negative_out() -> None:
    d1, d2 = (d.requires_grad_() for d in distances(3))
    triplet_softmax_loss(d1, d2).backward()
    assert d1.grad is not None
    assert d2.grad is not None
    assert (d1.grad > 0).all()
    assert (d2.grad < 0).all()


def test_huge_distances_stay_finite() -> None:
    assert triplet_softmax_loss(torch.tensor([1e5]), torch.tensor([0.0])).item() == 1.0
