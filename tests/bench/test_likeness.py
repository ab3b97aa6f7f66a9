"""The measurement of recognisers: what it counts as the same face, as another, and as overlap."""

import torch

from bench.likeness import ANOTHER, Person, others, overlap, same, table
from persona_core.faces import KnownFace


def face(*numbers):
    return KnownFace((0, 0, 1, 1), 1.0, embedding=torch.nn.functional.normalize(torch.tensor(numbers), dim=0))


ANN, OLDER, BOB, STRANGER = face(1.0, 0.0, 0.0), face(1.0, 1.0, 0.0), face(0.0, 1.0, 0.0), face(0.0, 0.0, 1.0)
PEOPLE = [Person([ANN, OLDER], {"blurred": OLDER, "darker": None}), Person([BOB], {"blurred": BOB, "darker": BOB})]


def rounded(values):
    return [None if one is None else round(one, 3) for one in values]


def test_the_same_is_a_face_and_itself_or_another_photo_and_all_else_is_another():
    alike = same(PEOPLE)
    assert {name: rounded(values) for name, values in alike.items()} == {
        "blurred": [0.707, 1.0], "darker": [None, 1.0], ANOTHER: [0.707],
    }  # fmt: skip
    unlike = rounded(others(PEOPLE, [STRANGER]))
    # Ann in two photos and a variant, each with the stranger and Bob; Bob and his two variants with her and Ann's two.
    assert sorted(unlike) == sorted([0, 0, 0, 0.707, 0, 0.707] + [0, 0, 0.707] * 3)
    lines = table(alike, unlike).splitlines()
    assert "| the same face, darker | 2 | 50% | 1.000 | 1.000 | 1.000 |" in lines


def test_overlap_is_told_with_the_cut_that_errs_as_often_either_way():
    assert overlap([0.9, 0.8], [0.1, 0.7]) == (
        "They do not overlap: the same face is never below 0.800, another never above 0.700."
    )
    said = overlap([0.2, 0.8, 0.9, 0.95], [0.1, 0.15, 0.3, 0.1])
    assert "down to 0.200, another up to 0.300" in said and "25.0% of the same" in said and "25.0% of others" in said
