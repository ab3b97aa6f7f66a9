"""The whole pack on a real server: somebody is learned from one photo, and the pictures show them.

It fails where learning learns nothing, where the persona does not reach the sampler, and where it reaches it at the
timesteps of the plain word.
"""

import pytest

from miniworld import workflow
from miniworld.measuring.asking import PROMPTS, said
from miniworld.measuring.scoring import Examiner
from miniworld.measuring.subjects import subject

PERSON = subject(9, "demo")
ASKED = "a {} wearing a red cap", "a photo of a {} on a street at night", "a {} at the beach"
PICTURES = 4  # of each prompt
# How much more alike than with the plain word; 0 is a stranger, 1 the same person drawn again. It was 0.58 (Learn
# Persona) and 0.56 (K/V tokens); with the gradient cut -0.15 and 0.00, without the table 0.00 both, with the persona where
# the word belongs and the other way round 0.25. (Which of five K/V pairs stands where does not show in likeness.)
RISE = 0.4
# The share of pictures that may lose what was asked for.
LOSS = 0.5


@pytest.fixture(scope="module", params=[workflow.PERSONA_MAGIC, workflow.KV_TOKENS])
def prompt(request, painter):
    files = workflow.upload(painter, PERSON, "someone")
    return workflow.learn_and_paint(
        *files, request.param, EmptyLatentImage={"batch_size": PICTURES}, KSampler={"steps": 10}
    )


def measured(painter, prompt: dict, word: str) -> tuple[float, float]:
    """Mean likeness, and the share of pictures that show what was asked for."""
    examiner, scores = Examiner(), []
    for text in ASKED:
        pictures = workflow.paint(painter, workflow.asking(prompt, said(text, word)))
        scores.append(examiner.score(pictures, [PROMPTS[text]] * PICTURES, PERSON))
    likeness, obeyed = (
        sum(getattr(score, key).float().mean().item() for score in scores) / len(scores)
        for key in ("likeness", "obeyed")
    )
    print(f"{word}: likeness {likeness:.3f}, as asked {obeyed:.0%}")
    return likeness, obeyed


def test_the_pictures_show_the_person_of_the_photo_as_asked(painter, prompt):
    plain, learned = (measured(painter, prompt, word) for word in (workflow.WORD, workflow.PLACEHOLDER))
    assert learned[0] > plain[0] + RISE
    assert learned[1] >= plain[1] - LOSS


def test_only_servers_that_ask_for_it_have_the_small_painter(server, painter):
    assert "MiniWorldLoader" in painter.object_info() and "MiniWorldLoader" not in server.object_info()
