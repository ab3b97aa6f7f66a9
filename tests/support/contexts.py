"""Texts whose contexts tests look at, and contexts compared by their tables."""

import torch

ANN, BOB, PLAIN = "a photo of <ann>", "<bob> in snow", "a green bicycle"
ANN_IN_SNOW = f"{ANN} in snow"
TIMES = (900, 600, 200)  # above, in and below the persona's stage


def same(one, other, exact=True):
    """Whether two contexts with tables have the same base, K and V at every stage."""
    pairs = [(one.table.base, other.table.base)]
    pairs += [pair for t in TIMES for pair in zip(one.table.at(t), other.table.at(t), strict=True)]
    return all(torch.equal(*pair) if exact else torch.allclose(*pair, atol=1e-4) for pair in pairs)
