"""What a triplet is asked to satisfy: the positive nearer to the anchor than the negative (paper, sec. IV-A)."""

from __future__ import annotations

import torch
from torch import Tensor


def euclidean_distance(a: Tensor, b: Tensor) -> Tensor:
    """Measure the distance between embeddings, pair by pair.

    Args:
        a, b: ``(B, D)`` float32.

    Returns:
        ``(B,)`` float32, 0 or more. The square is kept a hair above 0, where the root has no slope to learn from.

    Source: Tayeh et al. 2020, eq. 1 and 2.

    Example:
        >>> euclidean_distance(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]])).tolist()
        [5.0]
    """
    return (a - b).square().sum(dim=1).clamp_min(1e-12).sqrt()


def triplet_softmax_loss(d_positive: Tensor, d_negative: Tensor) -> Tensor:
    """Ask that the softmax of the two negated distances be [1, 0], by mean absolute error.

    Args:
        d_positive: ``(B,)`` distance of each anchor to its positive (the paper's d1).
        d_negative: ``(B,)`` distance of each anchor to its negative (the paper's d2).

    Returns:
        Scalar in (0, 1): 0.5 where the two are equal, towards 0 where the negative is much further.

    Source: Tayeh et al. 2020, sec. IV-A and IV-D. Departure: the paper feeds (d1, d2) to the softmax and asks for
    [1, 0]; to the letter that would push anchor and positive apart. The distances are therefore negated, which is
    what the text means ("a higher similarity score between a and p"). With s = softmax(-d1, -d2), the mean absolute
    error over both outputs is ((1 - s1) + s2) / 2 = s2 = sigmoid(d1 - d2), since s1 + s2 = 1.

    Example:
        >>> triplet_softmax_loss(torch.tensor([1.0]), torch.tensor([1.0])).item()
        0.5
    """
    similarity = torch.softmax(torch.stack([-d_positive, -d_negative], dim=1), dim=1)  # (B, 2)
    target = torch.tensor([1.0, 0.0], device=similarity.device)
    return (similarity - target).abs().mean()
