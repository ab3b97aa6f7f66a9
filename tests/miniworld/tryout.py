"""Learn people whom the painter has never seen, from one drawing each, and look at them in eight prompts.

    python -m tests.miniworld.tryout FOLDER [--people 2] [--steps 200] [--rate 1e-3] [--batch 8]

Writes tryout.png into FOLDER: a row a person, first the drawing that was learned from, then the prompts.
"""

import argparse
import tempfile
import time
from pathlib import Path

from . import host  # noqa: F401, isort: skip  (before comfy)

import torch
from einops import rearrange
from torch import Tensor

from persona_core.host.encoding import apply_to_clip
from persona_core.host.learner import Lesson, Recipe, learn_persona
from persona_core.host.pictures import Photo
from persona_core.learning import LearningSettings
from persona_core.persona import Persona
from persona_core.stages import Stages
from persona_core.table import AppliedPersona

from . import captions, instruments, model
from .painting import paint, paint_each
from .sheet import sheet
from .world import people, portrait, render

HERE = Path(__file__).parent
HELD_OUT = 777  # the seed of people whom no caption names
PLACEHOLDER = "<ann>"
PROMPTS = {
    "a photo of a {}": {},
    "a {} wearing a red hat": {"hat": "red"},
    "a photo of a {} wearing a crown": {"hat": "crown"},
    "a {} with dark glasses": {"glasses": "dark"},
    "a photo of a {} with round glasses": {"glasses": "round"},
    "a photo of a {} on a blue background": {"background": "blue"},
    "a {} smiling on a yellow background": {"background": "yellow", "expression": "smiling"},
    "a photo of a {} looking surprised, wearing a blue hat": {"hat": "blue", "expression": "surprised"},
}


def learn(models, drawing: Tensor, mask: Tensor, args) -> Persona:
    photo = Photo(rearrange(drawing, "c h w -> h w c"), mask[0])
    settings = LearningSettings(steps=args.steps, learning_rate=args.rate, batch_size=args.batch)
    lesson = Lesson("ann", *models, [photo], Recipe(stages=Stages(*args.stages), resolution=32, learning=settings))
    with tempfile.TemporaryDirectory() as folder:
        return learn_persona(lesson, lesson.fingerprint(), Path(folder) / "unfinished", lambda progress: None)


def obeyed(eye, pictures: Tensor, wanted: list[dict[str, str]]) -> Tensor:
    """Whether each picture [B, ...] shows all that was asked for."""
    seen = instruments.read(eye, pictures)
    return torch.tensor(
        [all(one[kind] == value for kind, value in all_of.items()) for one, all_of in zip(seen, wanted)]
    )


def report(name: str, eye, figures: dict, pictures: Tensor, likes: Tensor) -> None:
    """One line of likeness to the pictures `likes` and obedience. pictures: [people * prompts, 3, H, W]."""
    wanted = list(PROMPTS.values()) * (len(pictures) // len(PROMPTS))
    who = instruments.identity(eye, likes).repeat_interleave(len(PROMPTS), 0)
    alike = instruments.likeness(instruments.identity(eye, pictures), who, figures)
    print(
        f"{name:28} likeness {alike.mean():.3f}   prompt {obeyed(eye, pictures, wanted).float().mean():.3f}", flush=True
    )


@torch.inference_mode()
def main(args) -> None:
    torch.set_num_threads(args.threads)
    models = model.load(args.painter)
    eye, figures = instruments.load(args.eye)
    drawings, masks = render(portrait(people(args.people, HELD_OUT)))
    known = render(portrait(captions.named_people()[: args.people]))[0]
    named = [prompt.replace("a {}", name) for name in captions.NAMES[: args.people] for prompt in PROMPTS]
    painted = paint(*models, named)
    report("a named person (ceiling)", eye, figures, painted, known)
    plain = paint(*models, [prompt.format("face") for prompt in PROMPTS] * args.people)
    report("plain prompt (floor)", eye, figures, plain, drawings)
    rows, shown = [], []
    for drawing, mask in zip(drawings, masks):
        began = time.monotonic()
        persona = learn(models, drawing, mask, args)
        spent, losses = time.monotonic() - began, persona.losses["noise"]
        print(f"learned in {spent:.0f} s, loss {sum(losses[:20]) / 20:.4f} -> {sum(losses[-20:]) / 20:.4f}", flush=True)
        clip = apply_to_clip(models[1], AppliedPersona(persona), PLACEHOLDER)
        prompts = [prompt.format(PLACEHOLDER) for prompt in PROMPTS]
        rows.append(paint_each(models[0], clip, models[2], prompts))
        shown.append(torch.cat([drawing[None], rows[-1]]))
    report("PersonaMagic, one drawing", eye, figures, torch.cat(rows), drawings)
    blank = torch.ones(1, *drawings.shape[1:])
    shown += [torch.cat([blank, plain[: len(PROMPTS)]]), torch.cat([known[:1], painted[: len(PROMPTS)]])]
    sheet(torch.cat(shown), 1 + len(PROMPTS), args.folder / "tryout.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--people", type=int, default=2)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--stages", type=int, nargs=2, default=(400, 800))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--painter", type=Path, default=HERE / "miniworld.safetensors")
    parser.add_argument("--eye", type=Path, default=HERE / "instruments.safetensors")
    main(parser.parse_args())
