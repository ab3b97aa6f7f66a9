"""How like pictures are that a persona just learned paints: the score column of `persona learn`. Imports the host."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from ..host.apply.persona import apply_persona
from ..host.apply.pictures import encode, paint, usual_sampling
from ..host.learn.fingerprint import fingerprint
from ..host.learn.jobs import Models
from ..host.scoring import Scorer
from ..persona import Persona
from .prompts import prompt_for

PROMPTS = (
    "a photo of <ann>",
    "a close-up portrait of <ann>, smiling",
    "a photo of <ann> outdoors, in the sun",
    "a photo of <ann> in a cafe",
)
SCORE, WAY, BY = "score", "share of the way", "scored by"  # in a persona's settings
SEED = 1  # of the first prompt's picture: the same for everybody, or people could not be compared


class LikenessCheck:
    """prompts: a picture each. Raises NoRecogniser with a sentence, before anything is learned."""

    def __init__(self, models: Models, prompts: Sequence[str] = PROMPTS):
        self.models, self.prompts, self.scorer = models, prompts, Scorer()

    @property
    def by(self) -> str:
        """What else decides a score than the persona and its photo."""
        key = fingerprint(list(self.prompts), usual_sampling(self.models.model))[:8]
        return f"{len(self.prompts)} pictures ({key}), {self.scorer.recogniser.name}"

    def __call__(self, persona: Persona, photos: Tensor, check_stop: Callable[[], None]) -> dict[str, object]:
        """For the settings of its file. photos: [M, H, W, 3]. Raises ValueError and the like, with a sentence."""
        reference = self.scorer.reference(list(photos))  # first: without a face in the photo, painting is in vain
        scored = self.scorer.score(self.pictures(persona, check_stop), reference)
        share = reference.share(scored.scores.id)
        way = {} if share is None else {WAY: round(share, 3)}
        return {**scored.kept, **way, BY: self.by}

    @torch.inference_mode()
    def pictures(self, persona: Persona, check_stop: Callable[[], None]) -> Iterator[Tensor]:
        model, clip = apply_persona(self.models.model, self.models.clip, persona)
        sampling = usual_sampling(model)
        negative = encode(clip, sampling.negative)
        for seed, prompt in enumerate(self.prompts, SEED):
            positive = encode(clip, prompt_for(prompt, persona.placeholder))
            yield paint(
                model, self.models.vae, positive, negative, [seed], sampling, lambda step: check_stop()
            )[0]  # fmt: skip
