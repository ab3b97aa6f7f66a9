"""What large inputs cost: long prompts, many personas, huge photos, many pictures, each in a process of its own.

    python -m bench.limits [--small]

Prompts are encoded by a text encoder of SD1.5's size, beside the same prompt in plain ComfyUI; photos go through the
pack's nodes, beside what ComfyUI's own nodes take of them. Prints tables; `make bench-trust` takes them from `tables`.
Memory is read from Linux' /proc. Half an hour and 12 GB; --small takes minutes.
"""

import argparse
import gc
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

from tools import host_modules  # noqa: F401, isort: skip  (before comfy)

import comfy.model_management
import comfy.sd
import folder_paths
import torch
from PIL import Image
from skimage import data
from torch import Tensor

import nodes
from bench.pages import markdown
from bench.sampling_runs import encode, random_persona
from bench.stopwatch import GIGABYTE, forget_peak, memory_now, peak_memory, seconds
from persona_core.host import pictures
from persona_core.host.apply.encoding import apply_to_clip
from persona_core.pixels import from_pil, to_pil
from persona_core.stages import Stages
from persona_core.table import AppliedPersona
from tools import random_checkpoint
from tools.environment import PACK

OURS, PLAIN = "persona", "plain"
HUGE, MANY = "huge", "many"
HONEST_MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(2**20)}  # what is freed is given back: else it would hide what is taken
MEMORY = 32 * GIGABYTE  # so much is free at the most, whatever the machine
WORD = "face"
REFUSED = "2,000,000 characters, 5,000 placeholders"
FILLER = "a street in the rain at night with many people and a red bus, "
Run = Callable[[], object]


@dataclass(frozen=True)
class Size:
    """How large the inputs are. side: pixels of the photo. characters: of the long prompt."""

    applies: int = 30
    placeholders: int = 500
    characters: int = 200_000
    side: int = 12_000
    pictures: int = 200
    picture: int = 512

    def shape(self, kind: str) -> tuple[int, int]:
        """How many pictures, and their side."""
        return (1, self.side) if kind == HUGE else (self.pictures, self.picture)

    def told(self, kind: str) -> str:
        count, side = self.shape(kind)
        return f"{side:,} x {side:,}" if count == 1 else f"{count} of {side} x {side}"

    def numbers(self, kind: str) -> int:
        count, side = self.shape(kind)
        return 3 * count * side**2


SIZES = {False: Size(), True: Size(applies=6, placeholders=60, characters=10_000, side=3000, pictures=12, picture=256)}


@dataclass(frozen=True)
class Found:
    """What a process found. memory: bytes at the most, beside what was there before; said: the sentence of an error."""

    seconds: float
    memory: int
    said: str = ""


def prompts(size: Size) -> dict[str, tuple[str, int]]:
    """Texts, with how many Applies stand before them. Personas are called <p0>, <p1> and so on."""
    names = [f"<p{number}>" for number in range(size.applies)]
    long = FILLER * (size.characters // len(FILLER))
    return {
        "a short prompt": ("a photo of <p0> in snow", 1),
        f"{size.applies} chained Applies, one in the prompt": ("a photo of <p0> in snow", size.applies),
        f"{size.applies} chained Applies, all in the prompt": ("a photo of " + " and ".join(names), size.applies),
        f"{size.placeholders} placeholders": (" ".join(["<p0>"] * size.placeholders), 1),
        f"{size.characters:,} characters, one placeholder": (long + " of <p0>", 1),
        f"{size.characters:,} characters, {size.applies} Applies, all in it": (long + " ".join(names), size.applies),
        REFUSED: ((FILLER * 6 + "<p0> ") * 5000, 1),
    }


def encoding(text: str, applies: int, way: str, folder: Path) -> Run:
    """Each persona has stages of its own: where one begins or ends, all contexts are made anew."""
    clip = known = text_encoder(folder)
    for number in range(applies):
        persona = random_persona(clip)
        persona.representation.stages = Stages(400 - 7 * number, 800 - 5 * number)
        known = apply_to_clip(known, AppliedPersona(persona), f"<p{number}>")
    encode(clip, "a photo")  # loads the weights
    free = comfy.model_management.get_free_memory
    comfy.model_management.get_free_memory = lambda *given: min(free(*given), MEMORY)
    return lambda: encode(known, text) if way == OURS else encode(clip, re.sub(r"<p\d+>", WORD, text))


def text_encoder(folder: Path) -> comfy.sd.CLIP:
    file = random_checkpoint.build(folder / "small.ckpt")
    return comfy.sd.load_checkpoint_guess_config(str(file), output_vae=False, output_model=False)[1]


def pack() -> ModuleType:
    """The pack as the host loads it."""
    place = str(PACK)
    spec = importlib.util.spec_from_file_location("pack", f"{place}/__init__.py", submodule_search_locations=[place])
    assert spec and spec.loader
    sys.modules["pack"] = package = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    return package


def photos(count: int, side: int) -> Tensor:
    """[count, side, side, 3]: NASA's portrait of Eileen Collins."""
    photo = from_pil(Image.fromarray(data.astronaut()).resize((side, side), Image.Resampling.BILINEAR))[None]
    return photo if count == 1 else photo.repeat(count, 1, 1, 1)


def learning(node: str, images: Tensor, folder: Path, **settings: object) -> Run:
    """One step at 128 pixels, with detection and crop: of the memory, little is learning's own."""
    models = comfy.sd.load_checkpoint_guess_config(str(random_checkpoint.build(folder / "small.ckpt")))[:3]
    module, node = node.split(".")
    return lambda: run_node(
        module, node, *models, images, name="ann", supercategory="face", steps=1, learning_rate=0.0, batch_size=1,
        te_weight=0.0, resolution=128, crop_to_face=True, mirror=False, train_seed=0, reuse=False, **settings,
    )  # fmt: skip


def run_node(module: str, node: str, *args: object, **named: object) -> object:
    return getattr(getattr(sys.modules["pack"].nodes, module), node).execute(*args, **named)


def persona_score(images: Tensor, folder: Path) -> Run:
    """And Pick Best of what it found."""

    def run() -> None:
        scored = run_node("score", "PersonaScore", images, images[:1])
        run_node("score", "PickBest", scored.args[2], 4)

    return run


def partition(images: Tensor, folder: Path) -> Run:
    models = comfy.sd.load_checkpoint_guess_config(str(random_checkpoint.build(folder / "small.ckpt")))[:3]
    mask = torch.ones(images.shape[:3])
    return lambda: run_node("stages", "StagePartition", *models, images, mask, WORD, 200, 1, 128, 0)


def save_persona(images: Tensor, folder: Path) -> Run:
    persona = random_persona(text_encoder(folder))
    return lambda: run_node("library", "SavePersona", persona, "ann", images)


def load_image(images: Tensor, folder: Path) -> Run:
    folder_paths.set_input_directory(str(folder))
    to_pil(images[0]).save(folder / "photo.png", compress_level=1)
    return lambda: nodes.LoadImage().load_image("photo.png")


MASK = dict(face_index=0, detector="cascade", grow=1.0, crop_size=512, no_face="error")
# Whether it is shown a huge photo, many pictures, or both.
PICTURES: dict[str, tuple[Callable[[Tensor, Path], Run], tuple[str, ...]]] = {
    "ComfyUI: Load Image": (load_image, (HUGE,)),
    "ComfyUI: Save Image": (lambda images, _: lambda: nodes.SaveImage().save_images(images), (HUGE, MANY)),
    "Face Mask": (lambda images, _: lambda: run_node("faces", "FaceMask", images, **MASK), (HUGE, MANY)),
    "Learn Persona": (lambda images, folder: learning("learn.LearnPersona", images, folder, tokens=1), (HUGE, MANY)),
    "Face-Wise K/V Tokens": (
        lambda images, folder: learning(
            "kv_tokens.FaceWiseKVTokens", images, folder, pairs=1, attention_weight=0.0, attention_tokens="all tokens",
            reference_word="face", augment=True,
        ), (HUGE, MANY),
    ),
    "Stage Partition from Attention": (partition, (HUGE,)),
    "Persona Score and Pick Best": (persona_score, (HUGE, MANY)),
    "Save Persona": (save_persona, (HUGE,)),
    "Save Generated Picture": (lambda images, _: lambda: pictures.save(images, "limits", {}, None, None), (HUGE, MANY)),
    "Apply, the photo's mask": (
        lambda images, _: lambda: sys.modules["pack"].nodes.apply.place_of(images[..., 0]), (HUGE,),
    ),
}  # fmt: skip


def measured(run: Run) -> Found:
    gc.collect()
    forget_peak()
    before, said = memory_now(), ""

    def tried() -> None:
        nonlocal said
        try:
            run()
        except (ValueError, MemoryError) as error:
            said = str(error)

    took = seconds(tried)
    return Found(took, peak_memory() - before, said)


def case(kind: str, name: str, way: str, size: Size) -> Found:
    with tempfile.TemporaryDirectory() as base, torch.inference_mode():
        folder = Path(base)
        folder_paths.folder_names_and_paths["personas"] = ([base], {".safetensors"})
        for set_directory in (folder_paths.set_output_directory, folder_paths.set_temp_directory):
            set_directory(base)
        if kind == "prompt":
            text, applies = prompts(size)[name]
            return measured(encoding(text, applies, way, folder))
        pack()
        make, _ = PICTURES[name]
        make(photos(1, 256), folder)()  # what is loaded only once is no large input's
        return measured(make(photos(*size.shape(way)), folder))


def in_a_process(kind: str, name: str, way: str, small: bool) -> Found:
    command = [sys.executable, "-m", "bench.limits", "--case", kind, name, way, *["--small"] * small]
    print(f"  {kind}: {name}, {way}", flush=True)
    ended = subprocess.run(command, capture_output=True, text=True, cwd=PACK, env={**os.environ, **HONEST_MALLOC})
    if ended.returncode:
        return Found(float("nan"), 0, f"ended with {ended.returncode}: {ended.stderr.strip()[-300:]}")
    found = Found(**json.loads(ended.stdout.splitlines()[-1]))
    print(f"    {found.seconds:.1f} s, {gigabytes(found.memory)} {found.said}", flush=True)
    return found


def gigabytes(memory: float) -> str:
    return f"{memory / GIGABYTE:.2f} GB"


def prompt_table(small: bool) -> str:
    headings = "", "plain", "with personas", "times", "memory, plain", "with personas"
    lines: list[tuple[str, ...]] = [headings, ("---",) * len(headings)]
    for name in prompts(SIZES[small]):
        ours = in_a_process("prompt", name, OURS, small)
        if ours.said:
            lines.append((name, "", f"refused after {ours.seconds:.1f} s", "", "", gigabytes(ours.memory)))
            continue
        plain = in_a_process("prompt", name, PLAIN, small)
        times = f"{plain.seconds:.1f} s", f"{ours.seconds:.1f} s", f"{ours.seconds / plain.seconds:.1f}"
        lines.append((name, *times, gigabytes(plain.memory), gigabytes(ours.memory)))
    return markdown(lines)


def picture_table(small: bool) -> str:
    headings = "", "given", "its size", "memory beside it", "time"
    lines: list[tuple[str, ...]] = [headings, ("---",) * len(headings)]
    for name, (_, shown) in PICTURES.items():
        for kind in shown:
            found, count = in_a_process("picture", name, kind, small), SIZES[small].numbers(kind)
            took = found.said or f"{found.seconds:.1f} s"
            lines.append((name, SIZES[small].told(kind), gigabytes(4 * count), gigabytes(found.memory), took))
    return markdown(lines)


def tables(small: bool) -> dict[str, str]:
    """For docs/trust.md: of prompts, and of pictures."""
    return {"prompts": prompt_table(small), "pictures": picture_table(small)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="smaller inputs")
    parser.add_argument("--case", nargs=3, metavar=("KIND", "NAME", "WAY"), help="one alone, in this process: as JSON")
    args = parser.parse_args()
    if args.case:
        print(json.dumps(asdict(case(*args.case, SIZES[args.small]))))
    else:
        print("\n\n".join(tables(args.small).values()))


if __name__ == "__main__":
    main()
