"""Where along the sampling a persona is dynamic: Stage Partition from Attention, Stages."""

from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP, VAE
from comfy.utils import ProgressBar
from comfy_api.latest import io, ui
from torch import Tensor

from ..persona_core.charts import iou_chart, map_grid
from ..persona_core.host.learn.attention_curve import attention_curve
from ..persona_core.host.learn.latents import size_multiple
from ..persona_core.host.model import best_resolution, check_models, default_stages
from ..persona_core.photos import photos
from ..persona_core.recipes import StageMapperRecipe
from ..persona_core.settings import RESOLUTION
from ..persona_core.stages import GRID, LAST_TIMESTEP, Stages, partition
from . import notices, sockets

STAGES_TOOLTIP = "The timesteps during which the persona changes with the noise. To Learn Persona."


class StagePartition(io.ComfyNode):
    """Find the dynamic stage of a photo from cross-attention (PersonaMagic, Figure 2)."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonaStagePartition",
            display_name="Stage Partition from Attention",
            **sockets.also_found_as("find stages, timesteps, attention map"),
            category=sockets.CATEGORY,
            description="Watches when the checkpoint's attention covers the face best while it paints, and gives that stretch to Learn Persona.",
            inputs=[
                io.Model.Input("model", tooltip="The checkpoint that the persona is learned with."),
                io.Clip.Input("clip", tooltip="The text encoder of the same checkpoint."),
                io.Vae.Input("vae", tooltip="The VAE of the same checkpoint."),
                io.Image.Input("image", tooltip="The photo. Of several, the first is used."),
                io.Mask.Input("mask", tooltip="Where the face or subject is, white. Face Mask makes one."),
                io.String.Input(
                    "supercategory",
                    default="face",
                    tooltip="The common word for what is in the photo: face, person, cat, dog. One word.",
                ),
                io.Int.Input(
                    "grid_step",
                    default=GRID,
                    min=5,
                    max=200,
                    tooltip="Look at every so many timesteps. Smaller is finer and slower; 20 looks at 50 of them.",
                ),
                io.Int.Input(
                    "noise_draws",
                    default=4,
                    min=1,
                    max=32,
                    tooltip="How many different noises are averaged at each timestep. More is smoother and slower.",
                ),
                io.Int.Input(
                    "resolution",
                    **RESOLUTION.limits(),
                    tooltip="About how many pixels a side the photo is brought to. 0: what the checkpoint's family paints best at.",
                ),
                io.Int.Input(
                    "draw_seed",
                    default=0,
                    min=0,
                    max=2**32 - 1,
                    control_after_generate=False,
                    tooltip="Another number gives other noise.",
                ),
            ],
            outputs=[
                sockets.Stages.Output(display_name="stages", tooltip=STAGES_TOOLTIP),
                io.Image.Output(
                    display_name="chart",
                    tooltip="How well attention covers the mask at each timestep, the stage shaded.",
                ),
                io.Image.Output(
                    display_name="maps", tooltip="Where the word looks at each timestep; the mask comes first."
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, resolution: int | None = 0) -> bool | str:
        return RESOLUTION.trouble("resolution", resolution) or True

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        clip: CLIP,
        vae: VAE,
        image: Tensor,
        mask: Tensor,
        supercategory: str,
        grid_step: int,
        noise_draws: int,
        resolution: int,
        draw_seed: int,
    ) -> io.NodeOutput:
        longest = StageMapperRecipe(supercategory=supercategory, tokens=StageMapperRecipe.most_tokens)
        check_models(model, clip, vae, longest)
        photo = photos(image[:1], mask[:1] if mask.ndim == 3 else mask)[0]
        photo = photo.resized(resolution or best_resolution(model), size_multiple(model, vae))
        bar = ProgressBar(1)

        def on_step(done: int, total: int) -> None:
            bar.update_absolute(done, total)

        curve = attention_curve(model, clip, vae, photo, supercategory, grid_step, noise_draws, draw_seed, on_step)
        found = partition(curve.timesteps, curve.iou, default=default_stages(model))
        why = "the attention says nothing (flat curve), so the default is kept" if found.flat else "from attention"
        said = notices.line(f"Dynamic stage {found.stages.t_lo} to {found.stages.t_hi}: {why}.")
        chart = iou_chart(curve.timesteps, curve.iou, found.smoothed, found.stages, found.flat)
        return io.NodeOutput(
            found.stages,
            chart,
            map_grid(curve.timesteps, curve.maps, curve.mask),
            ui={**ui.PreviewImage(chart, cls=cls).as_dict(), **said},
        )


class StagesByHand(io.ComfyNode):
    """The dynamic stage as two numbers."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonaStages",
            display_name="Stages",
            **sockets.also_found_as("timesteps, dynamic stage"),
            category=sockets.CATEGORY,
            description="Sets the dynamic stage by hand. Timesteps run from 999, pure noise, down to 0, the finished picture.",
            inputs=[
                io.Int.Input(
                    "t_lo",
                    default=Stages.t_lo,
                    min=0,
                    max=LAST_TIMESTEP,
                    tooltip="Where the dynamic stage ends, towards the finished picture. Smaller than t_hi.",
                ),
                io.Int.Input(
                    "t_hi",
                    default=Stages.t_hi,
                    min=0,
                    max=LAST_TIMESTEP,
                    tooltip="Where the dynamic stage begins, towards the noise. Above it the common word stands for the person.",
                ),
            ],
            outputs=[sockets.Stages.Output(display_name="stages", tooltip=STAGES_TOOLTIP)],
        )

    @classmethod
    def execute(
        cls,
        t_lo: int,
        t_hi: int,
    ) -> io.NodeOutput:
        return io.NodeOutput(Stages(t_lo, t_hi))


NODES = [StagePartition, StagesByHand]
