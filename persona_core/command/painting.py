"""Painting prompts with each of many personas, to pictures and contact sheets. Imports the host."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import content_credentials, watermark
from ..file_names import is_hidden
from ..files import called
from ..host.apply.persona import apply_persona
from ..host.apply.pictures import Sampling, encode, paint
from ..host.learn.fingerprint import fingerprint, weights_in
from ..host.learn.jobs import Models
from ..host.learn.memory import out_of_memory
from ..host.pictures import writes_metadata
from ..persona import Persona
from ..pixels import to_pil
from ..provenance import PERSONAS
from ..score_sheet import count_of
from .claims import PAUSE, Claim
from .gallery import KEY, TEXT, Gallery
from .outcomes import DiskFull, is_full, sentence_of
from .prompts import prompt_for
from .results import FAILED, THERE

PAINTED = "painted"


@dataclass(frozen=True)
class Asked:
    """What is painted with each persona. sliders: of `AppliedPersona`. at_once: pictures in a batch. watermarked: in
    the pixels, too. models: as they were named."""

    prompts: Sequence[str]
    seeds: Sequence[int]
    sampling: Sampling
    sliders: Mapping[str, Any]
    at_once: int
    watermarked: bool
    models: str

    @property
    def note(self) -> str:
        """Of a sheet's settings."""
        one, seeds = self.sampling, f"{self.seeds[0]} to {self.seeds[-1]}" if len(self.seeds) > 1 else self.seeds[0]
        said = f"{self.models}, seeds {seeds}, {one.steps} steps, cfg {one.cfg:g}, {one.sampler}, {one.scheduler}"
        return ", ".join([said, *(f"{name} {value}" for name, value in self.sliders.items())])


class Picture(NamedTuple):
    """One that is wanted. key: the same for what would be painted the same."""

    prompt: str
    seed: int
    key: str


@dataclass(frozen=True)
class Painted:
    """What became of one person. status: PAINTED, THERE already, or FAILED. count: pictures that were painted now.
    full: the disk is, so that whoever comes next cannot be painted either."""

    id: str
    status: str
    count: int = 0
    seconds: float | None = None
    error: str = ""
    full: bool = False

    @property
    def detail(self) -> str:
        return count_of(self.count) if self.count else ""


class Painter:
    """Paints what is asked with each persona, with models that are loaded once."""

    def __init__(self, models: Models, asked: Asked, out: Path):
        self.models, self.asked, self.out = models, asked, out
        weights = weights_in(models.model, models.clip, models.vae)
        # Of all that decides a picture but for whose it is, the prompt and the seed.
        self.common = fingerprint(weights, asked.sampling, dict(asked.sliders), asked.watermarked)
        signing = content_credentials.set_up()
        self.sign = partial(content_credentials.sign, likeness=True) if signing else None

    @torch.inference_mode()  # as the host runs nodes; of a generator, only while it runs
    def paint(
        self,
        files: Sequence[Path],
        on_step: Callable[[str, str], None] = lambda name, said: None,
        check_stop: Callable[[], None] = lambda: None,
    ) -> Iterator[Painted]:
        """What became of each persona's file, as soon as it is known.

        on_step: is told who is painted, and how far that is. check_stop: what it raises between two steps, if that
        is no Exception, ends the run. Raises DiskFull, behind the line of the person that it met.
        """

        def watch(name: str, said: str) -> None:
            on_step(name, said)
            check_stop()

        first: dict[str, Path] = {}
        elsewhere = []
        for file in files:
            taken = first.setdefault(file.stem.casefold(), file)
            if taken is not file:
                twin = f"{taken} has the same name, which is that of the contact sheet."
                yield Painted(str(file), FAILED, error=twin)
            elif (made := self.paint_claimed(file, watch)) is None:
                elsewhere.append(file)
            else:
                yield from or_full(made)
        for file in elsewhere:
            while (made := self.paint_claimed(file, watch)) is None:
                check_stop()
                time.sleep(PAUSE)
            yield from or_full(made)

    def paint_claimed(self, file: Path, watch: Callable[[str, str], None]) -> Painted | None:
        """What became of it; None where another command paints it just now."""
        name, began, claim = file.stem, time.monotonic(), None
        try:
            if is_hidden(file.name):  # of "...safetensors" the folder would be ".."
                raise ValueError(f"{called(file)} begins with a dot, and so would its folder of pictures. Rename it.")
            persona = Persona.load(file)
            self.out.mkdir(parents=True, exist_ok=True)
            claim = Claim(self.out / f".{name}.painting")
            if not claim.take():
                claim = None
                return None
            count = self.paint_persona(persona, name, partial(watch, name))
            seconds = round(time.monotonic() - began, 3)
            return Painted(name, PAINTED if count else THERE, count, seconds if count else None)
        except Exception as error:
            return Painted(name, FAILED, error=sentence_of(error, name), full=is_full(error))
        finally:
            if claim:
                claim.give_back()

    def paint_persona(self, persona: Persona, name: str, on_step: Callable[[str], None]) -> int:
        """Paint the pictures that are not there, and draw the sheet; how many were painted."""
        gallery, asked, learned = Gallery(self.out, name, self.sign), self.asked, persona.learned
        gallery.check()
        wanted = [
            Picture(prompt, seed, fingerprint(self.common, learned, prompt, seed))
            for prompt in asked.prompts
            for seed in asked.seeds
        ]
        there = gallery.pictures()
        if lacking := [one for one in wanted if one.key not in there]:
            self.paint_pictures(persona, lacking, gallery, on_step)
            there = gallery.pictures()
        rows = [
            (prompt_for(prompt, persona.placeholder), [there[one.key] for one in some])
            for prompt, some in groupby(wanted, lambda one: one.prompt)
        ]
        gallery.draw(fingerprint([one.key for one in wanted], asked.note), asked.note, rows)
        return len(lacking)

    def paint_pictures(
        self, persona: Persona, lacking: Sequence[Picture], gallery: Gallery, on_step: Callable[[str], None]
    ) -> None:
        """In batches of one prompt each: a persona's contexts differ from prompt to prompt."""
        sampling, done = self.asked.sampling, 0
        model, clip = apply_persona(self.models.model, self.models.clip, persona, **self.asked.sliders)
        negative = encode(clip, prompt_for(sampling.negative, persona.placeholder))

        def watch(step: int) -> None:
            on_step(f"picture {done + 1}/{len(lacking)}  step {step}/{sampling.steps}")

        for prompt, alike in groupby(lacking, lambda one: one.prompt):
            text = prompt_for(prompt, persona.placeholder)
            positive = encode(clip, text)
            while batch := list(islice(alike, self.asked.at_once if sampling.alike_in_batches else 1)):
                images = self.sample(model, positive, negative, [one.seed for one in batch], watch)
                for one, image in zip(batch, images, strict=True):
                    picture = to_pil(image)
                    if self.asked.watermarked:
                        picture = watermark.marked(picture)
                    gallery.add(picture, self.texts(persona, text, one))
                    done += 1

    def sample(self, model, positive, negative, seeds: Sequence[int], on_step: Callable[[int], None]) -> Tensor:
        try:
            return paint(model, self.models.vae, positive, negative, seeds, self.asked.sampling, on_step)
        except Exception as error:
            if not out_of_memory(error):
                raise
            raise MemoryError(
                f"Painting {len(seeds)} pictures in a batch needs more memory than there is. Use a smaller --at-once, "
                "or smaller pictures."
            ) from error

    def texts(self, persona: Persona, prompt: str, one: Picture) -> dict[str, object]:
        """What a picture's file says; its key alone, where ComfyUI is told to write none."""
        if not writes_metadata():
            return {TEXT: {KEY: one.key}}
        asked = self.asked
        whose = {"placeholder": persona.placeholder, "supercategory": persona.supercategory, **asked.sliders}
        said = {"prompt": prompt, "seed": one.seed, **asdict(asked.sampling), **whose, "models": asked.models}
        strength = asked.sliders.get("strength", 1.0)
        who = {"persona": persona.name, "placeholder": persona.placeholder, "strength": strength}
        return {TEXT: {KEY: one.key, **said}, PERSONAS: [who]}


def or_full(made: Painted) -> Iterator[Painted]:
    yield made
    if made.full:
        raise DiskFull(f"The run stops, because the disk is full. {made.error}")
