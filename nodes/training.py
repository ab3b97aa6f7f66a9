"""What both learning nodes have in common: inputs, outputs, what is checked, and the call."""

from collections.abc import Sequence

from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP, VAE
from comfy_api.latest import io, ui
from torch import Tensor

from ..persona_core.charts import loss_chart
from ..persona_core.host.insightface import pack_without
from ..persona_core.host.learn.latents import size_multiple
from ..persona_core.host.learn.reuse import find_or_train
from ..persona_core.host.learn.run import TrainingJob
from ..persona_core.host.model import check_across, check_models
from ..persona_core.losses import REDUCTIONS
from ..persona_core.photos import Photo, cropped, sized
from ..persona_core.recipes import STARTS, WEIGHTS, Recipe
from . import notices, sockets

MINUTES = 15.0  # that auto may take
OUTPUTS = [
    sockets.Persona.Output(display_name="persona", tooltip="To Apply Stage-Regulated Embedding."),
    io.Image.Output(display_name="loss", tooltip="The loss over the steps: noisy, but it should fall."),
    io.String.Output(display_name="path", tooltip="Where the persona's file lies."),
]


def shared_inputs() -> dict[str, io.Input]:
    """The inputs that both learning nodes have, by name."""
    inputs = [
        io.Model.Input(
            "model",
            tooltip="The checkpoint to learn with. A persona works best with the checkpoint it was learned with, and with its relatives.",
        ),
        io.Clip.Input("clip", tooltip="The text encoder of the same checkpoint."),
        io.Vae.Input("vae", tooltip="The VAE of the same checkpoint."),
        io.Image.Input(
            "image",
            tooltip="One clear photo. Several photos of the same person as one batch are used by turns.",
        ),
        io.String.Input(
            "name",
            default="my_persona",
            tooltip="The persona's name. The file is saved as models/personas/NAME.safetensors.",
        ),
        io.Int.Input(
            "steps",
            default=0,
            min=0,
            max=20000,
            tooltip="How long to learn. 0: as the preset says. With steps of your own, auto is balanced for so long.",
        ),
        io.Float.Input(
            "learning_rate",
            default=0.0,
            min=0.0,
            max=0.1,
            step=1e-6,
            round=False,
            tooltip="How big each step of learning is. 0: as the preset says. It falls towards the end as the preset's does. Too high: the loss jumps or stops being a number.",
        ),
        io.Int.Input(
            "batch_size",
            default=0,
            min=0,
            max=32,
            tooltip="How many noised copies of the photo are looked at in each step. 0: as the preset says. More is steadier and needs more memory.",
        ),
        io.Int.Input(
            "resolution",
            default=0,
            min=0,
            max=sockets.LARGEST,
            step=8,
            tooltip="About how many pixels a side the photo is brought to. 0: what the checkpoint's family paints best at, 512 for SD1.5, 768 for SD2.1, 1024 for SDXL.",
        ),
        io.Boolean.Input(
            "crop_to_face",
            default=True,
            tooltip="Cut a square around the face, or around the mask if there is one, so that most of the picture is the person.",
        ),
        io.Int.Input(
            "train_seed",
            default=0,
            min=0,
            max=2**32 - 1,
            control_after_generate=False,
            tooltip="The same seed and inputs give the same persona. Try another if the likeness is poor.",
        ),
        io.Boolean.Input(
            "reuse",
            default=True,
            tooltip="If this persona was already learned from exactly these inputs, load it instead of learning again. Keep on when you queue many prompts.",
        ),
        io.Mask.Input(
            "mask",
            optional=True,
            tooltip="White where the person is. Without it, Face Mask's detection is used for faces, and the whole picture for anything else.",
        ),
        io.Combo.Input(
            "attention_reduction",
            options=list(REDUCTIONS),
            default=REDUCTIONS[0],
            optional=True,
            tooltip="How the attention loss sums up heads, words and places. sum: as the paper's Equation 1. mean: as its Algorithm 1, which is many thousand times as weak at the same weight.",
        ),
        io.String.Input(
            "caption",
            default="",
            optional=True,
            tooltip="What else the photo shows, in a few words: wearing glasses, in front of a red wall. What is said here is not learned into the persona.",
        ),
        io.Float.Input(
            "minutes",
            default=MINUTES,
            min=0.0,
            max=600.0,
            step=0.5,
            round=False,
            optional=True,
            tooltip="With preset auto: that learning may take at most. 0: as long as it needs. Learning says so where they were too few.",
        ),
        io.Float.Input(
            "context_weight",
            default=0.0,
            min=0.0,
            max=100.0,
            step=0.0001,
            round=False,
            optional=True,
            tooltip="Keeps the other words of a prompt what they mean beside the common word, while learning. 0 turns it off.",
        ),
        io.Combo.Input(
            "start",
            options=list(STARTS),
            default=STARTS[0],
            optional=True,
            tooltip="Where learning starts: at the common word, or, for people, at what the text encoder knows of people's names.",
        ),
        io.Combo.Input(
            "loss_weights",
            options=list(WEIGHTS),
            default=WEIGHTS[0],
            optional=True,
            tooltip="What the weights of the other losses mean. absolute: as in the papers. relative: how hard each may pull at the persona, where 1 is as hard as the photo does; that is measured, so it means the same with every checkpoint. Try 0.1.",
        ),
    ]
    return {one.id: one for one in inputs}


def check_shared(
    resolution: int | None, attention_reduction: str, start: str, loss_weights: str, **own: tuple[str, Sequence[str]]
) -> bool | str:
    """For validate_inputs, as `sockets.check_choices`. own: what a node has of its own."""
    right = sockets.check_choices(
        **own,
        attention_reduction=(attention_reduction, REDUCTIONS),
        start=(start, STARTS),
        loss_weights=(loss_weights, WEIGHTS),
    )
    return right if right is not True else sockets.check_resolution(resolution)


def photos_of(
    model: ModelPatcher, clip: CLIP, vae: VAE, image: Tensor, mask: Tensor | None, recipe: Recipe, crop_to_face: bool
) -> list[Photo]:
    """What a recipe is learned from, once all that goes into learning is checked. image, mask: as the node has them."""
    pack = pack_without(mask)
    check_models(model, clip, vae, recipe)
    if recipe.attention_weight:
        check_across(model, "The attention loss", "Set attention_weight to 0.")
    notices.warn_of_white(image)
    parts = cropped(image, mask, recipe, crop_to_face, pack)
    notices.warn_of_blur(parts, recipe.resolution)
    return sized(parts, recipe, size_multiple(model, vae))


def train(job: TrainingJob, reuse: bool, node: type[io.ComfyNode]) -> io.NodeOutput:
    """The OUTPUTS of a learning node: the persona as it was learned before, or now."""
    persona, path, said = find_or_train(job, reuse)
    chart = loss_chart(persona.losses, persona.steps)
    shown = {**ui.PreviewImage(chart, cls=node).as_dict(), "text": (str(path),), **notices.line(said)}
    return io.NodeOutput(persona, chart, str(path), ui=shown)
