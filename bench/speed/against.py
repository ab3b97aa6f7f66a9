"""Learning against two other trainers' loops, by turns: the time of a step, of a sample, of a persona."""

from pathlib import Path

from . import host  # isort: skip  (before the host's modules)
import torch

from bench.stopwatch import by_turns, ratios, spread
from persona_core.host.learn.denoiser import model_for_learning
from persona_core.recipes import PRESETS

from . import peer_models
from .learning import KINDS, Forward, Learner
from .page import Table
from .peers import Published, TextualInversion, TrainingJob

OURS = 2, 4  # rows of a step
INVERTED = 1, 4
INVERSION_STEPS, PUBLISHED_STEPS = 3000, 1000
PROMPT, WORD = "a photo of a face in a garden", 5  # the word's place, behind the beginning
RECIPE = KINDS["Learn Persona"]


def same_unet(host, peer, latent: int) -> float:
    """The largest difference of the two UNets' outputs for one input. Stops where they are not the same network."""
    forward = Forward(host, latent, 1)
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        ours = forward.output().float()
        theirs = peer(forward.noisy.float(), forward.t, forward.context.float()).sample
    difference = float((ours - theirs).abs().max())
    if not torch.allclose(ours, theirs, rtol=1e-3, atol=1e-3 * float(ours.abs().max())):
        raise SystemExit(f"The UNet of diffusers is not the host's: outputs differ by up to {difference:.3g}.")
    return difference


def measure(file: Path, architecture: str, latent: int, repeats: int) -> list[Table]:
    """The tables of part 2. All models are in memory at once."""
    host.unload()
    usual = host.precision_of(model_for_learning(host.load(file)[0]))
    hosts = {precision: host.load(file, precision) for precision in host.TRIED}
    hosts = {name: parts for name, parts in hosts.items() if host.precision_of(parts[0]) == name}
    model, clip, _ = hosts["fp32"]
    device = model.load_device
    models = peer_models.load(file, architecture, model.model.diffusion_model, device)
    difference = same_unet(model, models.unet, latent)
    print(f"  the UNet of diffusers gives the host's output, largest difference {difference:.2g}", flush=True)

    ids = torch.tensor([token for token, *_ in clip.tokenize(PROMPT)["l"][0]], device=device)
    photo = torch.rand(1, 3, latent * 8, latent * 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    job = TrainingJob(models, ids, WORD, photo.to(device))
    precision = "fp16" if host.GPU else "fp32"
    runs, rows, told = {}, {}, {}
    for batch in INVERTED:
        name = f"textual inversion, batch {batch}, {precision}"
        runs[name], rows[name] = TextualInversion(job, batch).step, batch
    published = "published PersonaMagic, batch 1 x 2, fp32"
    runs[published], rows[published] = Published(job).step, Published.ROWS
    peers = list(runs)
    for kind, (model, clip, _) in hosts.items():
        for batch in OURS:
            name = f"ours, batch {batch}, {kind}" + (", as Learn Persona learns here" if kind == usual else "")
            runs[name], rows[name] = Learner(model, clip, RECIPE, latent, batch).step, batch
            told[name] = kind, batch
    found = by_turns(runs, repeats, None if host.GPU else [peers[0], published, *list(told)[:: len(OURS)]])
    samples = {name: [one / rows[name] for one in took] for name, took in found.items()}

    each = [[name, spread(found[name]), spread(samples[name])] for name in runs]
    against = [[name, *(spread(ratios(samples[peer], samples[name]), ".2f") for peer in peers)] for name in told]
    whole = [[name, str(INVERSION_STEPS), minutes(found[name], INVERSION_STEPS)] for name in peers if name != published]
    whole.append([published, str(PUBLISHED_STEPS), minutes(found[published], PUBLISHED_STEPS)])
    for preset, settings in PRESETS.items():
        for name, (_, batch) in told.items():
            if batch == settings.batch_size:
                whole.append([f"{name}, preset {preset}", str(settings.steps), minutes(found[name], settings.steps)])
    return [
        Table(
            "Beside other trainers: a step",
            f"At {latent * 8}x{latent * 8} pixels, Learn Persona's recipe. *Sample*: one row that goes forward and "
            "backward through the UNet. Textual inversion is the loop of diffusers' example; published PersonaMagic "
            "encodes photo and prompt anew for each row, looks at the photo with CLIP vision, and computes in fp32. "
            "Both are written here with diffusers and transformers, on the same weights: the UNets' outputs differ by "
            f"at most {difference:.2g}. The autoencoder is SD's KL one with random weights, as is CLIP ViT-L/14.",
            ("", "a step, s", "a sample, s"),
            each,
        ),
        Table(
            "Beside other trainers: samples a second",
            "Ours as a multiple of the other's.",
            ("", *(f"of {peer}" for peer in peers)),
            against,
        ),
        Table(
            "Beside other trainers: a persona",
            f"Steps times seconds: {INVERSION_STEPS} steps of textual inversion (its example's default is 5000), "
            f"{PUBLISHED_STEPS} of published PersonaMagic with two rows each, ours by preset.",
            ("", "steps", "a persona, minutes"),
            whole,
        ),
    ]


def minutes(took: list[float], steps: int) -> str:
    return spread([steps * one / 60 for one in took], ".1f")
