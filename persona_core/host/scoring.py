"""Is it her? Pictures held against photos, for Persona Score and the command."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from comfy.clip_vision import ClipVisionModel
from comfy.sd import CLIP
from torch import Tensor

from .. import score_sheet
from ..faces import KnownFace, Recogniser, choose_recogniser
from ..faces.at_hand import strangers
from ..likeness import THRESHOLD, Reference, Scores, make_reference, score
from ..photos import rgb
from .clip_score import PromptScores, prompt_scores
from .insightface import insightface_folders
from .messages import warn


@dataclass(frozen=True)
class Scored:
    """said: what the figures mean, a sentence each. recogniser: by which faces were told apart."""

    scores: Scores
    said: tuple[str, ...]
    recogniser: str

    @property
    def meaning(self) -> str:
        return "\n".join((*self.said, f"Faces told apart by {self.recogniser}."))

    @property
    def kept(self) -> dict[str, object]:
        """For the settings of a persona's file."""
        figures = {"score": round(self.scores.id or 0.0, 3), "ID(Prompt)": round(self.scores.id_prompt, 3)}
        return {**figures, "last check": f"{self.said[0]} {self.recogniser}"}


class Scorer:
    """Tells faces apart by what is installed. Raises NoRecogniser with a sentence, ValueError for a damaged pack."""

    def __init__(self) -> None:
        self.recogniser = choose_recogniser(insightface_folders())

    def reference(
        self, photos: Sequence[Tensor], others: Tensor | None = None, on_picture: Callable = lambda: None
    ) -> Reference:
        """Of photos [H, W, 3]. others: photos [M, H, W, C] of other people; None: those at hand. Raises NoFaceFound."""
        return make_reference(photos, other_faces(others, self.recogniser), self.recogniser, on_picture)

    def score(
        self,
        images: Iterable[Tensor],
        reference: Reference,
        prompts: PromptScores | None = None,
        threshold: float = THRESHOLD,
        on_picture: Callable = lambda: None,
    ) -> Scored:
        """Of pictures [H, W, 3]. prompts: their CLIP scores, if they were asked for."""
        each = prompts.each if prompts else None
        scores = score(images, reference, self.recogniser, each, threshold, on_picture)
        said = [score_sheet.meaning_of_id(scores)]
        if prompts:
            said.append(score_sheet.meaning_of_prompt(scores, prompts.unrelated))
        return Scored(scores, tuple(said), self.recogniser.name)


def other_faces(others: Tensor | None, recogniser: Recogniser) -> tuple[KnownFace, ...]:
    """Who is held against the reference: the faces in `others`, or those at hand."""
    if others is None:
        return strangers(recogniser)
    found = tuple(face for picture in rgb(others).float().cpu() for face in recogniser.faces(picture))
    if not found:
        warn("No face was found in others, so it is not known how like strangers are.")
    return found


def scores_of_prompt(
    images: Iterable[Tensor],
    photos: Iterable[Tensor],
    text: str,
    clip: CLIP | None,
    clip_vision: ClipVisionModel | None,
) -> PromptScores | None:
    """Of pictures and photos [H, W, 3]; None where there is no text. Raises ValueError with a sentence."""
    if not text.strip():
        return None
    if clip is None or clip_vision is None:
        raise ValueError(
            "There is a text, but to compare pictures with it both clip and clip_vision are needed. Wire them in, or "
            "leave the text empty."
        )
    return prompt_scores(clip, clip_vision, text, images, photos)
