"""How like a person the pictures of a server are, and what they show of what was asked for."""

from miniworld import workflow
from miniworld.measuring.asking import PROMPTS, said
from miniworld.measuring.scoring import Examiner
from miniworld.measuring.subjects import Subject


def measured(painter, prompt: dict, word: str, person: Subject, every: int = 1) -> tuple[float, float]:
    """Mean likeness, and the share of pictures that show what was asked for. every: so many prompts, one is painted."""
    examiner, scores = Examiner(), []
    for text, asked in list(PROMPTS.items())[::every]:
        pictures = workflow.paint(painter, workflow.asking(prompt, said(text, word)))
        scores.append(examiner.score(pictures, [asked], person))
    likeness, obeyed = (
        sum(getattr(score, key).float().mean().item() for score in scores) / len(scores)
        for key in ("likeness", "obeyed")
    )
    print(f"{word}: likeness {likeness:.3f}, as asked {obeyed:.0%}")
    return likeness, obeyed
