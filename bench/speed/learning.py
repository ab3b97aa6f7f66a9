"""One learning step against one forward pass of the host's UNet, and where a step's time goes."""

from dataclasses import replace
from pathlib import Path

from . import host  # isort: skip  (before the host's modules)
import comfy.model_management
import torch
from comfy.ldm.modules.attention import optimized_attention

from bench.stopwatch import by_turns, ratios, seconds, spread
from persona_core.host.clip import text_towers
from persona_core.host.learn.autograd import differentiable
from persona_core.host.learn.denoiser import FrozenDenoiser
from persona_core.host.learn.text import DifferentiableText
from persona_core.host.model import compute_dtype
from persona_core.loss_scale import LossScale
from persona_core.recipes import Beginning, KVTokensRecipe, Recipe, StageMapperRecipe
from persona_core.task import References, TrainingTask
from persona_core.training import train

from .page import Table
from .watch import PARTS, Watch

KINDS = {
    "Learn Persona": StageMapperRecipe(),
    "K/V tokens without attention loss": KVTokensRecipe(attention_weight=0.0),
    "K/V tokens": KVTokensRecipe(),
}
BATCHES = 1, 2, 4
WATCHED = 2  # the batch of which is told where the time goes
STEPS = 10 if host.GPU else 1  # that are timed as one


class Learner:
    """Learning as train_persona sets it up, from random latents."""

    def __init__(self, model, clip, recipe: Recipe, latent: int, batch: int, steps: int = STEPS):
        self.model, self.clip = model, clip
        with self.ready():
            denoiser, towers = FrozenDenoiser(model, latent**2), text_towers(clip)
            representation = recipe.representation(Beginning(towers.word(recipe.supercategory), widths=towers.widths))
            text = DifferentiableText(clip, representation.tokens, recipe.supercategory, denoiser.dtype)
            generator = torch.Generator().manual_seed(0)
            latents = torch.randn(1, 4, latent, latent, generator=generator).to(denoiser.device)
            references = References(latents, torch.ones_like(latents[:, :1]))
            representation, objective = representation.to(denoiser.device), recipe.objective(text.towers.word)
            settings = replace(recipe.learning, steps=steps, batch_size=batch)
            self.task = TrainingTask(representation, references, text, denoiser, objective, settings)

    def ready(self):
        return differentiable(self.model, self.clip.patcher, dtype=compute_dtype(self.model))

    def scale(self) -> LossScale:
        return LossScale(enabled=self.task.denoiser.dtype == torch.float16)

    def step(self) -> float:
        """Seconds of one step."""
        with self.ready():
            return seconds(lambda: train(self.task, scale=self.scale())) / self.task.settings.steps

    def shares(self) -> dict[str, float]:
        """Where the time of a step goes."""
        watch = Watch(self.task.text, self.task.denoiser)
        with self.ready(), watch.watching():
            train(replace(self.task, text=watch, denoiser=watch), scale=self.scale())
        return watch.shares()


class Forward:
    """The UNet called as the host samples: in inference mode, with the host's choice of attention."""

    def __init__(self, model, latent: int, batch: int):
        self.model, device, dtype = model, model.load_device, compute_dtype(model)
        unet, generator = model.model.diffusion_model, torch.Generator().manual_seed(0)

        def noise(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=generator).to(device, dtype)

        width = model.model.model_config.unet_config["context_dim"]
        beside = {"y": noise(batch, model.model.adm_channels)} if model.model.adm_channels else {}
        self.noisy, self.t = noise(batch, 4, latent, latent), torch.full((batch,), 500.0, device=device)
        self.context = noise(batch, 77, width)
        self.call = lambda: unet(self.noisy, self.t, context=self.context, transformer_options={}, **beside)

    def output(self) -> torch.Tensor:
        comfy.model_management.load_models_gpu([self.model], force_full_load=True)
        with torch.inference_mode():
            return self.call()

    def step(self) -> float:
        """Seconds of one pass."""
        comfy.model_management.load_models_gpu([self.model], force_full_load=True)
        with torch.inference_mode():
            return seconds(lambda: [self.call() for _ in range(STEPS)]) / STEPS


def at(batch: int, what: str) -> str:
    """The name of a run."""
    return f"batch {batch}, {what}"


def measure(
    file: Path, architecture: str, latent: int, repeats: int, precisions=host.TRIED, batches=BATCHES
) -> list[Table]:
    """The tables of part 1. Models of one precision at a time are in memory."""
    steps, adds, shares = [], [], []
    for precision in precisions:
        print(f"learning, {architecture}, {precision}", flush=True)
        host.unload()
        model, clip, _ = host.load(file, precision)
        if host.precision_of(model) != precision:
            steps.append([precision, "not possible on this machine"] + [""] * 4)
            continue
        runs = {}
        watched = min(WATCHED, max(batches))
        for batch in batches:
            runs[at(batch, "forward")] = Forward(model, latent, batch).step
            for kind, recipe in KINDS.items():
                runs[at(batch, kind)] = Learner(model, clip, recipe, latent, batch).step
        for kind, recipe in KINDS.items():
            runs[f"parts of {kind}"] = Learner(model, clip, recipe, latent, watched).shares
        found = by_turns(runs, repeats)
        for batch in batches:
            forward = found[at(batch, "forward")]
            for kind in KINDS:
                took = found[at(batch, kind)]
                steps.append([
                    precision, str(batch), kind, spread(forward), spread(took), spread(ratios(took, forward), ".2f")
                ])  # fmt: skip
            _, without, with_it = (found[at(batch, kind)] for kind in KINDS)
            more = [ratio - 1 for ratio in ratios(with_it, without)]
            adds.append([precision, str(batch), spread(more, "+.1%")])
        for kind in KINDS:
            parts = found[f"parts of {kind}"]
            shares.append([precision, kind, *(spread([one[part] for one in parts], ".1%") for part in PARTS)])
    return tables(steps, adds, shares, architecture, latent, watched)


def tables(steps: list, adds: list, shares: list, architecture: str, latent: int, watched: int) -> list[Table]:
    where = f"{latent * 8}x{latent * 8} pixels, `{architecture}`"
    return [
        Table(
            f"A learning step against a forward pass: {architecture}",
            f"{where}. *Forward*: the host's UNet as it samples, attention by `{optimized_attention.__name__}`. "
            "*Step*: all of a step of `training.train`, nothing computed twice; the VAE is no part of it, as the "
            "photo is encoded once.",
            ("precision", "batch", "", "forward, s", "step, s", "step / forward"),
            steps,
        ),
        Table(
            f"What the attention loss adds to a step: {architecture}",
            "Of K/V tokens, against the same step without it.",
            ("precision", "batch", "more time"),
            adds,
        ),
        Table(
            f"Where a step's time goes: {architecture}",
            f"At batch {watched}, forward and backward together. *Text encoder* and *UNet* include what the host does "
            "around them. *Loss terms*: the noise loss, and Tandem Equilibrium or the attention loss. *The rest*: "
            "draws, what is learned and its backward pass, noise, reading the losses.",
            ("precision", "", *PARTS),
            shares,
        ),
    ]
