"""What using a persona costs: sampling, encoding its prompt, and the nodes."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from . import host  # isort: skip  (before the host's modules)
import torch

from bench.pages import with_error
from bench.sampling_runs import Own, encode, random_persona, sample
from bench.stopwatch import by_turns, ratios, seconds, spread
from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.apply.sampling import TABLE, apply_to_model
from persona_core.host.clip import text_towers
from persona_core.host.learn.attention_curve import attention_curve
from persona_core.host.model import check_persona
from persona_core.kv_tokens import TokenExpander
from persona_core.persona import Persona
from persona_core.photos import Photo
from persona_core.stages import LAST_TIMESTEP
from persona_core.table import AppliedPersona

from .page import Table

STEPS = 20
TURNS = 10  # as many turns of single steps, for each round of whole pictures
PLAIN, OTHER = "a photo of a face", "a dog with people in the rain"
PROMPTS = {1: "a photo of <ann>", 3: "a photo of <ann> with <bob> and <eve>"}
CHANCE = "0, another prompt"  # that it takes longer or shorter is the noise of the measurement
PLACEHOLDERS = "<ann>", "<bob>", "<eve>"
# Of the node; on a CPU, few timesteps stand for all.
GRID_STEP, DRAWS = 20 if host.GPU else 500, 4


def random_pairs(clip) -> Persona:
    """A persona of K/V tokens."""
    towers = text_towers(clip)
    expander = TokenExpander(towers.word("person"), widths=towers.widths)
    return Persona("ann", expander.exported().requires_grad_(False), towers.family, "person")


@torch.inference_mode()
def sampling(file: Path, latent: int, repeats: int) -> list[Table]:
    """The tables of part 4."""
    host.unload()
    model, clip, _ = host.load(file)
    applied = clip
    for placeholder in PLACEHOLDERS:
        applied = apply_to_clip(applied, AppliedPersona(random_persona(clip)), placeholder)
    encodings = {0: lambda: encode(clip, PLAIN)} | {
        count: lambda prompt=prompt: encode(applied, prompt) for count, prompt in PROMPTS.items()
    }
    pairs = apply_to_clip(clip, AppliedPersona(random_pairs(clip)), "<ann>")
    encodings["K/V tokens"] = lambda: encode(pairs, PROMPTS[1])
    names = {0: "none", 1: "1", 3: "3", "K/V tokens": "1, of K/V tokens"}
    made = {name: run() for name, run in encodings.items()} | {CHANCE: encode(clip, OTHER)}
    negative, own = encode(clip, "lowres"), Own()

    def painted(count: object, steps: int = STEPS) -> Callable[[], float]:
        return lambda: sample(model, made[count], negative, latent, steps)[0]

    def measured(count: object) -> Callable[[], tuple[float, float]]:
        """Seconds, and those in the pack's own code."""

        def run() -> tuple[float, float]:
            own.seconds = 0.0
            return painted(count)(), own.seconds

        return run

    counts = (0, CHANCE, *PROMPTS)
    runs = {f"sampling, personas: {count}": measured(count) for count in counts}
    found = list(by_turns(runs, repeats, None if host.GPU else list(runs)[:1]).values())
    took = {count: [total for total, _ in rounds] for count, rounds in zip(counts, found)}
    shares = {count: [ours / total for total, ours in rounds] for count, rounds in zip(counts, found)}
    single = by_turns({f"a step, personas: {count}": painted(count, 1) for count in counts}, TURNS * repeats)
    single = dict(zip(counts, single.values()))
    encoded = by_turns(
        {name: lambda run=run: seconds(run) for name, run in zip(names.values(), encodings.values())}, repeats
    )
    side = latent * 8
    return [
        Table(
            "Sampling",
            f"{STEPS} steps of Euler at {side}x{side} pixels in {host.precision_of(model)}, with a negative "
            f"prompt. *Own code*: the share of the time in this pack's functions. *{CHANCE}*: the noise of the "
            "measurement.",
            ("personas in the prompt", "seconds", "against none", "own code"),
            [
                [str(count), spread(took[count]), spread(ratios(took[count], took[0]), ".4f"),
                 spread(shares[count], ".2%") if count in PROMPTS else ""]
                for count in counts
            ],
        ),
        Table(
            "Sampling, step by step",
            f"The same in {TURNS * repeats} turns of one step, so that what else the machine does meets all alike.",
            ("personas in the prompt", "seconds", "against none, mean ± standard error"),
            [[str(count), spread(single[count]), with_error(ratios(single[count], single[0]), 4)] for count in counts],
        ),
        Table(
            "Encoding a prompt",
            "Once for each new prompt. *Rows*: how many the text encoder gets.",
            ("personas in the prompt", "seconds", "against none", "rows"),
            [
                [name, spread(encoded[name]), spread(ratios(encoded[name], encoded["none"]), ".1f"),
                 str(rows_of(made[key]))]
                for key, name in names.items()
            ],
        ),
    ]  # fmt: skip


def rows_of(conditioning) -> int:
    """The plain prompt's, and those of K and V."""
    table = conditioning[0][1].get(TABLE)
    return 1 + (sum(len(side) for side in (*table.keys, *table.values)) if table else 0)


@torch.inference_mode()
def nodes(file: Path, latent: int, repeats: int) -> list[Table]:
    """The table of part 5."""
    host.unload()
    model, clip, vae = host.load(file)
    personas = {"Learn Persona": random_persona(clip), "K/V tokens": random_pairs(clip)}
    photo, side = Photo(torch.rand(latent * 8, latent * 8, 3), torch.ones(latent * 8, latent * 8)), latent * 8
    count = len(range(0, LAST_TIMESTEP + 1, GRID_STEP))

    def apply(persona: Persona) -> None:
        """As the node does."""
        apply_to_clip(clip, AppliedPersona(persona), "<ann>")
        check_persona(model, persona)
        apply_to_model(model, "<ann>")

    def partition() -> None:
        attention_curve(model, clip, vae, photo, "face", GRID_STEP, DRAWS, 0, lambda done, total: None)

    with tempfile.TemporaryDirectory() as folder:
        files = {kind: persona.save(Path(folder) / f"{kind[:1]}.safetensors") for kind, persona in personas.items()}
        runs = {f"Apply, {kind}": lambda persona=persona: apply(persona) for kind, persona in personas.items()}
        runs |= {f"Load Persona, {kind}": lambda path=path: Persona.load(path) for kind, path in files.items()}
        stage = f"Stage Partition from Attention, {count} timesteps, {DRAWS} noises each, {side}x{side} pixels"
        runs[stage] = partition
        runs = {name: lambda run=run: seconds(run) for name, run in runs.items()}
        found = by_turns(runs, repeats)
        sizes = [[kind, str(path.stat().st_size)] for kind, path in files.items()]
    few = "" if host.GPU else f"; here fewer timesteps are looked at than its default of 50, every {GRID_STEP}th"
    return [
        Table(
            "Nodes",
            f"Seconds of what each does when it runs, beside loading the models; the VAE is a TAESD{few}. A persona "
            "here has no history of its loss, which adds up to a few KB to its file.",
            ("", "seconds"),
            [[name, spread(took)] for name, took in found.items()],
        ),
        Table(
            "A persona's file", "For this checkpoint's text encoder, with its default settings.", ("", "bytes"), sizes
        ),
    ]
