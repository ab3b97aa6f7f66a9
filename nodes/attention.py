"""Why a word was lost: Persona Attention."""

import comfy.sample
import comfy.samplers
import comfy.utils
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP, VAE
from comfy_api.latest import io, ui
from torch import Tensor

from ..persona_core.charts import word_grid
from ..persona_core.host.apply.attention_view import watch
from ..persona_core.host.model import check_text, check_unet, check_vae
from . import sockets

MOMENTS = {"early": 900, "middle": 600, "late": 200}


class PersonaAttention(io.ComfyNode):
    """Paints a prompt and shows where each of its words looks at early, middle and late timesteps."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonaAttention",
            display_name="Persona Attention",
            **sockets.also_found_as("attention map, cross-attention, heatmap, DAAM"),
            category=sockets.CATEGORY,
            description="Paints one picture and shows, word by word, where the prompt looks while it forms. A word that stays dark may have been lost.",
            is_output_node=True,
            inputs=[
                io.Model.Input("model", tooltip="From Apply Stage-Regulated Embedding."),
                io.Clip.Input("clip", tooltip="From Apply Stage-Regulated Embedding."),
                io.Vae.Input("vae", tooltip="The VAE of the same checkpoint."),
                io.Latent.Input(
                    "latent_image", tooltip="From Empty Latent Image: the size. Of several, the first is used."
                ),
                io.String.Input(
                    "text",
                    multiline=True,
                    default="a photo of <ann> holding a cup",
                    tooltip="The prompt to look into. Its first 75 tokens are shown.",
                ),
                io.String.Input("negative", multiline=True, default="", tooltip="The negative prompt."),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=2**64 - 1,
                    control_after_generate=False,
                    tooltip="The same as the sampler's gives the same picture.",
                ),
                io.Int.Input("steps", default=20, min=1, max=1000, tooltip="Of the sampler."),
                io.Float.Input("cfg", default=8.0, min=0.0, max=100.0, step=0.1, tooltip="Of the sampler."),
                io.Combo.Input(
                    "sampler_name", options=comfy.samplers.KSampler.SAMPLERS, default="euler", tooltip="As in KSampler."
                ),
                io.Combo.Input(
                    "scheduler", options=comfy.samplers.KSampler.SCHEDULERS, default="normal", tooltip="As in KSampler."
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="attention",
                    tooltip="A row each for early, middle and late timesteps, a column a word: bright where it looks.",
                ),
                io.Image.Output(display_name="image", tooltip="The picture that was painted."),
            ],
        )

    @classmethod
    def validate_inputs(cls, sampler_name: str, scheduler: str) -> bool | str:
        kinds = comfy.samplers.KSampler
        return sockets.check_choices(
            sampler_name=(sampler_name, kinds.SAMPLERS), scheduler=(scheduler, kinds.SCHEDULERS)
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        clip: CLIP,
        vae: VAE,
        latent_image: dict[str, Tensor],
        text: str,
        negative: str,
        seed: int,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
    ) -> io.NodeOutput:
        check_unet(model)
        check_text(model, clip)
        check_vae(model, vae)
        latents = comfy.sample.fix_empty_latent_channels(model, latent_image["samples"][:1])
        bar = comfy.utils.ProgressBar(steps)
        painted, found = watch(
            model, clip, text, negative, latents, list(MOMENTS.values()),
            steps=steps, cfg=cfg, sampler=sampler_name, scheduler=scheduler, seed=seed, on_step=bar.update_absolute,
        )  # fmt: skip
        picture = vae.decode(painted)
        rows = [(f"{name}, t {one.t:.0f}", one.maps) for name, one in zip(MOMENTS, found)]
        grid = word_grid(picture[0].cpu(), rows)
        return io.NodeOutput(grid, picture, ui=ui.PreviewImage(grid, cls=cls))


NODES = [PersonaAttention]
