"""What both learning nodes have in common: inputs, outputs, what is checked, and the call."""

from collections.abc import Mapping

from comfy_api.latest import io, ui

from ..persona_core.charts import loss_chart
from ..persona_core.host.learn.reuse import find_or_train
from ..persona_core.host.learn.run import TrainingJob
from ..persona_core.settings import SHARED, Setting, Value, trouble
from . import notices, sockets

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
            **SHARED["steps"].limits(),
            tooltip="How long to learn. 0: as the preset says. With steps of your own, auto is balanced for so long.",
        ),
        io.Float.Input(
            "learning_rate",
            **SHARED["learning_rate"].limits(),
            tooltip="How big each step of learning is. 0: as the preset says. It falls towards the end as the preset's does. Too high: the loss jumps or stops being a number.",
        ),
        io.Int.Input(
            "batch_size",
            **SHARED["batch_size"].limits(),
            tooltip="How many noised copies of the photo are looked at in each step. 0: as the preset says. More is steadier and needs more memory.",
        ),
        io.Int.Input(
            "resolution",
            **SHARED["resolution"].limits(),
            tooltip="About how many pixels a side the photo is brought to. 0: what the checkpoint's family paints best at, 512 for SD1.5, 768 for SD2.1, 1024 for SDXL.",
        ),
        io.Boolean.Input(
            "crop_to_face",
            **SHARED["crop_to_face"].limits(),
            tooltip="Cut a square around the face, or around the mask if there is one, so that most of the picture is the person.",
        ),
        io.Int.Input(
            "train_seed",
            **SHARED["train_seed"].limits(),
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
            **SHARED["attention_reduction"].limits(),
            optional=True,
            tooltip="How the attention loss sums up heads, words and places. sum: as the paper's Equation 1. mean: as its Algorithm 1, which is many thousand times as weak at the same weight.",
        ),
        io.String.Input(
            "caption",
            **SHARED["caption"].limits(),
            optional=True,
            tooltip="What else the photo shows, in a few words: wearing glasses, in front of a red wall. What is said here is not learned into the persona.",
        ),
        io.Float.Input(
            "minutes",
            **SHARED["minutes"].limits(),
            optional=True,
            tooltip="With preset auto: that learning may take at most. 0: as long as it needs. Learning says so where they were too few.",
        ),
        io.Float.Input(
            "context_weight",
            **SHARED["context_weight"].limits(),
            optional=True,
            tooltip="Keeps the other words of a prompt what they mean beside the common word, while learning. 0 turns it off.",
        ),
        io.Combo.Input(
            "start",
            **SHARED["start"].limits(),
            optional=True,
            tooltip="Where learning starts: at the common word, or, for people, at what the text encoder knows of people's names.",
        ),
        io.Combo.Input(
            "loss_weights",
            **SHARED["loss_weights"].limits(),
            optional=True,
            tooltip="What the weights of the other losses mean. absolute: as in the papers. relative: how hard each may pull at the persona, where 1 is as hard as the photo does; that is measured, so it means the same with every checkpoint. Try 0.1.",
        ),
    ]
    return {one.id: one for one in inputs}


def check(settings: Mapping[str, Setting], **chosen: Value | None) -> bool | str:
    """For validate_inputs: an input that is named there is not checked by the host, which checks no lists either."""
    return trouble(settings, chosen) or True


def train(job: TrainingJob, reuse: bool, node: type[io.ComfyNode]) -> io.NodeOutput:
    """The OUTPUTS of a learning node: the persona as it was learned before, or now."""
    persona, path, said = find_or_train(job, reuse)
    chart = loss_chart(persona.losses, persona.steps)
    shown = {**ui.PreviewImage(chart, cls=node).as_dict(), "text": (str(path),), **notices.line(said)}
    return io.NodeOutput(persona, chart, str(path), ui=shown)
