"""Why a word was lost: Persona Attention."""

import comfy.sample
import comfy.samplers
import comfy.utils
import torch
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP, VAE
from comfy_api.latest import io, ui
from torch import Tensor

from ..persona_core.attention_figure import WordAttention, attention_figure
from ..persona_core.charts import word_grid
from ..persona_core.host.apply.attention_view import stages_in, watch
from ..persona_core.host.apply.places import resized
from ..persona_core.host.model import check_across, check_layers, check_text, check_unet, check_vae
from ..persona_core.stages import LAST_TIMESTEP
from . import notices, sockets

MOMENTS = {"early": 900, "middle": 600, "late": 200}
COLUMNS = 10  # of the figure


def subject_mask(mask: Tensor, size: tuple[int, int], cell: int) -> Tensor:
    """Of a MASK [M, H, W] or [H, W] of the host, the first at the latents' size (h, w): [h, w] in 0..1.

    cell: pixels of the picture to a side of the latents. Raises ValueError with a sentence.
    """
    mask = mask.reshape(-1, *mask.shape[-2:])[0].float().cpu().clamp(0, 1)
    if not mask.any():
        raise ValueError(
            "The mask is all black: Load Image gives such a one for a picture without transparency. Paint the "
            "persona's place in the picture white, or leave the mask away."
        )
    (height, width), (rows, columns) = size, mask.shape
    if abs(rows * width - columns * height) >= max(rows, columns):  # a cell too high or too wide
        raise ValueError(
            f"The mask is {columns}x{rows} pixels, but the picture is {cell * width}x{cell * height}, of another shape. "
            "Use a mask of the picture that is painted with these settings, for instance from Face Mask."
        )
    mask = resized(mask, size)
    if not (mask > 0.5).any():
        raise ValueError(
            f"The mask shows nothing that is whiter than half and as large as {cell} pixels, which is as fine as "
            "attention sees. Make it larger or whiter, or leave it away."
        )
    return mask


def best_said(looks: WordAttention) -> str:
    """Where each persona, or without any the word that does it best, covers the mask best."""
    found = {word: looks.best(word) for word in looks.stages}
    if not found:
        found = {f"'{word}'": looks.best(word) for word in looks.ranked[:1]}
    return " ".join(f"{word} covers the mask best at t {t:.0f}: IoU {iou:.2f}." for word, (t, iou) in found.items())


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
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where the persona is in the picture that is painted, white: from Face Mask of the sampler's picture. Adds to the figure how well each word covers it, and shows the figure on the node.",
                ),
                io.Int.Input(
                    "timesteps",
                    default=COLUMNS,
                    min=2,
                    max=24,
                    optional=True,
                    tooltip="How many timesteps the figure shows, evenly from noise to picture. With fewer steps: all of them.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="attention",
                    tooltip="A row each for early, middle and late timesteps, a column a word: bright where it looks.",
                ),
                io.Image.Output(display_name="image", tooltip="The picture that was painted."),
                io.Image.Output(
                    display_name="figure",
                    tooltip="A row a word, a column a timestep, from noise to picture. With a mask, beneath it how well each word covers the mask: the persona is the thick line, its dynamic stage is shaded.",
                ),
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
        mask: Tensor | None = None,
        timesteps: int = COLUMNS,
    ) -> io.NodeOutput:
        check_across(model, "Persona Attention", "Paint without it.")
        check_layers(model.model.diffusion_model, "Persona Attention", "Paint without it")
        check_unet(model)
        check_text(model, clip)
        check_vae(model, vae)
        latents = comfy.sample.fix_empty_latent_channels(model, latent_image["samples"][:1])
        if mask is not None:
            mask = subject_mask(mask, tuple(latents.shape[-2:]), vae.spacial_compression_encode())
        moments = torch.linspace(LAST_TIMESTEP, 0, timesteps).tolist()
        bar = comfy.utils.ProgressBar(steps)
        painted, found = watch(
            model, clip, text, negative, latents, [*MOMENTS.values(), *moments],
            steps=steps, cfg=cfg, sampler=sampler_name, scheduler=scheduler, seed=seed, on_step=bar.update_absolute,
        )  # fmt: skip
        picture = vae.decode(painted)
        rows = [(f"{name}, t {one.t:.0f}", one.maps) for name, one in zip(MOMENTS, found)]
        grid = word_grid(picture[0].cpu(), rows)
        seen = {one.t: one.maps for one in found[len(MOMENTS) :]}
        maps = {word: torch.stack([one[word] for one in seen.values()]) for word in found[0].maps}
        looks = WordAttention([*seen], maps, stages_in(clip, text), mask)
        figure = attention_figure(picture[0].cpu(), looks)
        if mask is None:
            return io.NodeOutput(grid, picture, figure, ui=ui.PreviewImage(grid, cls=cls))
        shown = ui.PreviewImage(figure, cls=cls).as_dict()
        return io.NodeOutput(grid, picture, figure, ui={**shown, **notices.line(best_said(looks))})


NODES = [PersonaAttention]
