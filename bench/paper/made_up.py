"""The made-up world as a place to measure in: its painter, its people, its instruments, as `bench.quality` has them."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache

import torch
from einops import rearrange
from torch import Tensor

from bench import quality
from bench.paper.prompts import ACTION, ATTRIBUTE, CLOTHING, SCENE, Prompt
from bench.paper.world import Painter, Sampler, Score
from bench.rivals import RESOLUTION
from miniworld import checkpoint, vae
from miniworld.measuring import instruments
from miniworld.measuring.asking import PROMPTS
from miniworld.measuring.subjects import Subject, subject
from persona_core.host.clip import text_towers
from persona_core.photos import Photo

NOTHING, COMPANY = "nothing", "company"
# By the first that a prompt asks for; "nothing" if it asks for none.
KINDS = {
    "other kind": COMPANY,
    "place": SCENE,
    "shot": SCENE,
    "expression": ATTRIBUTE,
    "turn": ACTION,
    "hat": CLOTHING,
    "glasses": CLOTHING,
    "clothes": CLOTHING,
}


def kind_of(asked: Mapping[str, str]) -> str:
    return next((kind for name, kind in KINDS.items() if name in asked), NOTHING)


class MadeUpWorld:
    supercategory, resolution = "person", RESOLUTION
    prompts = tuple(Prompt(kind_of(asked), text) for text, asked in PROMPTS.items())
    samplers: Mapping[str, Sampler] = {"usual": Sampler("euler", "normal", quality.STEPS, quality.GUIDANCE)}
    neighbours: Mapping[str, Callable[[Painter, Tensor], Painter]] = {}
    made_of: Sequence[object] = [file.read_bytes() for file in (checkpoint.FILE, vae.FILE, instruments.FILE)]
    notes: Sequence[str] = ()

    def __init__(self, people: int, split: str = "table"):
        self.split, self.names = split, [str(number) for number in range(people)]
        self.facts: Sequence[Mapping[str, float | None]] = [{}] * people
        self.about = {
            "world": "the made-up world, not real people: a small painter of drawn people, 128 pixels wide",
            "family": text_towers(self.models[1]).family,
            "recogniser": "the made-up world's own",
            "people": f"of its split {split}",
        }

    @property
    def models(self) -> tuple:
        return quality.models()

    @cache  # noqa: B019  (one world a process)
    def subject(self, number: int) -> Subject:
        return subject(number, self.split)

    def photo(self, number: int) -> Photo:
        return quality.photo_of(self.subject(number))

    def paint(
        self,
        painter: Painter,
        prompts: Sequence[Prompt],
        seeds: Sequence[int],
        sampler: Sampler,
        on_prompt: Callable[[], None],
    ) -> Tensor:
        said = [painter.says(prompt) for prompt in prompts]
        painted = torch.stack([quality.paint(painter.clip, said, seed) for seed in seeds], 1)
        for _ in prompts:
            on_prompt()
        return rearrange(painted, "prompts seeds c h w -> (prompts seeds) c h w")

    def score(self, pictures: Tensor, prompts: Sequence[Prompt], number: int) -> list[Score]:
        asked = [PROMPTS[prompt.text] for prompt in prompts]
        found = quality.examiner().score(pictures, asked, self.subject(number))
        each = zip(asked, found.likeness.tolist(), found.obeyed.tolist(), found.heads.tolist())
        return [
            Score(likeness, float(obeyed) if want else None, float(heads > 0), likeness * obeyed)
            for want, likeness, obeyed, heads in each
        ]
