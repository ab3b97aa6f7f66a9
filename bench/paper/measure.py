"""Learn people in the ways of the rows, paint them, score the pictures: a file for each row, person and sampler.

What has a file is not measured again; learning that was stopped goes on where it was.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from bench.learning import file_size, learned
from bench.paper.rows import Row
from bench.paper.world import Painter, World
from bench.stopwatch import forget_peak, peak_memory
from miniworld.sheet import sheet
from persona_core.files import write_whole
from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.apply.sampling import apply_to_model
from persona_core.host.clip import text_towers
from persona_core.host.compat import lends_weights
from persona_core.host.learn.unfinished import load_progress
from persona_core.persona import Persona
from persona_core.progress import Progress
from persona_core.recipes import Beginning, Recipe
from persona_core.table import AppliedPersona

PLACEHOLDER = "<ann>"
SNR = "signal to noise of one picture"
PULL = "pull of the {} loss, the photo's being 1"
MEMORY_IS_KNOWN = torch.cuda.is_available() or Path("/proc/self/clear_refs").exists()


def forget() -> None:
    """The highest memory so far."""
    if MEMORY_IS_KNOWN:
        forget_peak()


def finite(value: float | None) -> float | None:
    """What JSON has a word for; without noise, signal to noise is infinite."""
    return value if value is not None and math.isfinite(value) else None


@dataclass(frozen=True)
class Bench:
    """seeds: pictures of each prompt. sheets: where contact sheets go, if they are asked for. shown: whether the photo
    is on them. told: is given how much of the work is done, in learnings and paintings."""

    world: World
    rows: Mapping[str, Row]
    folder: Path
    seeds: int
    sheets: Path | None = None
    shown: bool = False
    told: Callable[[float], object] = lambda done: None

    def file(self, row: str, number: int, sampler: str) -> Path:
        return self.folder / f"{row}-{number:03}-{sampler}.json"

    def sheet(self, row: str, number: int, sampler: str) -> Path | None:
        return self.sheets and self.sheets / f"{row}-{number:03}-{sampler}.jpg"

    def missing(self, row: str, number: int) -> list[str]:
        """The samplers with which it is still to be measured."""

        def is_missing(sampler: str) -> bool:
            files = self.file(row, number, sampler), self.sheet(row, number, sampler)
            return not all(file.exists() for file in files if file)

        return [sampler for sampler in self.world.samplers if is_missing(sampler)]

    def learnings(self, number: int) -> dict[str, list[str]]:
        """The rows of a person that are missing, by the learning that they share; last those that wait for another."""
        found: dict[str, list[str]] = {}
        for name, row in self.rows.items():
            if row.recipe and self.missing(name, number):
                found.setdefault(row.learned_as or name, []).append(name)
        return dict(sorted(found.items(), key=lambda one: any(self.rows[name].as_many_as for name in one[1])))

    def work(self, number: int) -> int:
        """How much is to be done of a person: each learning counts as one, each row with a sampler too."""
        paintings = sum(len(self.missing(name, number)) for name in self.rows)
        return len(self.learnings(number)) + paintings

    def measure(self, number: int) -> None:
        """All of a person that is missing."""
        for name, row in self.rows.items():
            if row.recipe is None and self.missing(name, number):
                self.judge(name, number, None, None)
        for learning, names in self.learnings(number).items():
            after = {name: self.steps(self.rows[name], number) for name in names}
            for steps, persona, facts in self.learn(learning, names[0], number, sorted(set(after.values()))):
                for name in (name for name in names if after[name] == steps):
                    self.judge(name, number, persona, facts)
            self.unfinished(learning, number).unlink(missing_ok=True)

    def steps(self, row: Row, number: int) -> int:
        """After how many a row is tried out; of those that are measured, the most."""
        assert row.recipe
        if not row.as_many_as:
            return row.recipe.learning.steps
        (facts,) = self.folder.glob(f"{row.as_many_as}-{number:03}-after-*.json")
        return max(1, round(json.loads(facts.read_text())["passes"] / row.recipe.learning.batch_size))

    def unfinished(self, learning: str, number: int) -> Path:
        return self.folder / f"{learning}-{number:03}.partial"

    def learn(self, learning: str, name: str, number: int, after: list[int]) -> Iterator[tuple[int, Persona, dict]]:
        """For each number of steps what is learned then, and what it took. name: of one of the rows that share it."""
        recipe, unfinished = self.rows[name].recipe, self.unfinished(learning, number)
        assert recipe
        before, seconds, told = load_progress(unfinished, learning), 0.0, 0.0
        if before and before.step > after[0]:
            unfinished.unlink()  # from when rows were asked for that are tried out later
        elif before:
            seconds = before.tensors["seconds"].item()

        def on_step(progress: Progress) -> None:
            nonlocal told, seconds
            seconds, planned = progress.seconds, progress.planned if recipe.learning.measured else after[-1]
            share = progress.step / planned if planned else 0.0
            self.told(max(0.0, share - told))
            told = max(share, told)

        forget()
        photos = self.rows[name].photos(self.world.photo(number))
        found = learned(self.world.models, recipe, photos, after, unfinished, learning, on_step)
        for steps, (_, _, persona) in zip(after, found):
            file = self.folder / f"{learning}-{number:03}-after-{steps}.json"
            if not file.exists():
                write_whole(file, json.dumps(self.facts(recipe, persona, seconds)).encode())
            yield steps, persona, json.loads(file.read_text())
            forget()  # what was painted meanwhile
        self.told(1 - told)

    def facts(self, recipe: Recipe, persona: Persona, seconds: float) -> dict[str, float | None]:
        """What learning took, and what came of it."""
        towers = text_towers(self.world.models[1])
        begun = recipe.representation(Beginning(towers.word(recipe.supercategory), None, towers.widths))
        kept = persona.representation.exported().state_dict()
        return {
            "learned numbers": sum(one.numel() for one in begun.parameters() if one.requires_grad),
            "stored numbers": sum(one.numel() for name, one in kept.items() if name != "word"),
            "file": file_size(persona),
            "steps": persona.steps,
            "passes": persona.steps * recipe.learning.batch_size,
            "seconds": seconds,
            "peak memory": peak_memory() if MEMORY_IS_KNOWN else None,
            "SNR": finite(persona.settings.get(SNR)),
            "TE ratio": finite(persona.settings.get(PULL.format("equilibrium"))),
            "attention ratio": finite(persona.settings.get(PULL.format("attention"))),
        }

    def painter(self, row: Row, number: int, persona: Persona | None) -> Painter:
        """What paints a row, as the nodes would have it."""
        model, clip, _ = self.world.models
        word = self.world.supercategory
        if persona:
            applied = AppliedPersona(persona, **row.applied)
            clip = apply_to_clip(clip, applied, PLACEHOLDER, hooked=not lends_weights(model))
            model, word = apply_to_model(model, PLACEHOLDER), PLACEHOLDER

        def encode(text: str) -> list:
            return clip.encode_from_tokens_scheduled(clip.tokenize(text))

        painter = Painter(model, clip, word, encode)
        if not row.beside:
            return painter
        with torch.inference_mode():  # as the host runs its nodes
            return self.world.neighbours[row.beside](painter, self.world.photo(number).image)

    def judge(self, name: str, number: int, persona: Persona | None, facts: dict | None) -> None:
        """Paint a person in a row, score the pictures, write the figures down."""
        world = self.world
        painter = self.painter(self.rows[name], number, persona)
        seeds = [self.seeds * number + one for one in range(self.seeds)]
        each = [(prompt, seed) for prompt in world.prompts for seed in seeds]
        for sampler in self.missing(name, number):
            pictures = world.paint(
                painter,
                world.prompts,
                seeds,
                world.samplers[sampler],
                lambda: self.told(1 / len(world.prompts)),
            )
            scores = world.score(pictures, [prompt for prompt, _ in each], number)
            if page := self.sheet(name, number, sampler):
                some = pictures[:: self.seeds]
                photo = torch.nn.functional.interpolate(
                    world.photo(number).image.movedim(-1, 0)[None], some.shape[-2:], mode="area"
                )
                sheet(torch.cat([photo, some]) if self.shown else some, 1 + len(some), page, enlarge=1)
            found = {
                "row": name,
                "person": number,
                "sampler": sampler,
                "learning": facts,
                "pictures": [
                    {"kind": prompt.kind, "seed": seed, **asdict(score)} for (prompt, seed), score in zip(each, scores)
                ],
            }
            write_whole(self.file(name, number, sampler), json.dumps(found).encode())
