"""Is it her? Persona Score and Pick Best."""

from dataclasses import dataclass

from comfy.clip_vision import ClipVisionModel
from comfy.sd import CLIP
from comfy.utils import ProgressBar
from comfy_api.latest import io, ui
from comfy_execution.graph_utils import ExecutionBlocker
from torch import Tensor

from ..persona_core import score_sheet
from ..persona_core.files import QUOTED, shown
from ..persona_core.host import store
from ..persona_core.host.messages import warn
from ..persona_core.host.scoring import Scored, Scorer, scores_of_prompt
from ..persona_core.likeness import THRESHOLD, Scores
from ..persona_core.persona import Persona
from ..persona_core.photos import reduced, rgb
from . import notices, sockets


@dataclass(frozen=True)
class ScoredBatch:
    """Pictures [B, H, W, 3] in 0..1, as they were painted, and their scores."""

    images: Tensor
    scores: Scores


ScoredPictures = io.Custom("PERSONA_SCORES")


class PersonaScore(io.ComfyNode):
    """IMAGE [B, H, W, 3] and reference photos to figures: how like, how well the prompt is shown."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        schema = io.Schema(
            node_id="PersonaScore",
            display_name="Persona Score",
            **sockets.also_found_as(
                "likeness, similarity, identity, face recognition, compare faces, CLIP score, evaluate, is it her"
            ),
            category=sockets.CATEGORY,
            description="Tells how like the faces in pictures are to a photo, and how well the pictures show their prompt, and sorts them by that.",
            is_output_node=True,
            inputs=[
                io.Image.Input("image", tooltip="The pictures that were painted, as one batch."),
                io.Image.Input(
                    "reference",
                    tooltip="A photo of whom they should show, or several as one batch. The largest face of each counts.",
                ),
                io.String.Input(
                    "text",
                    multiline=True,
                    default="",
                    optional=True,
                    tooltip="The prompt that they were painted with. It is compared if clip and clip_vision are there.",
                ),
                io.Float.Input(
                    "threshold",
                    default=THRESHOLD,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    optional=True,
                    tooltip="The prompt figure from which on a picture counts as showing its prompt; below it, its ID(Prompt) is 0. 0.23 is published for SeFi-IDE; other CLIPs have other scales.",
                ),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip="The text half of a CLIP, with its projection: clip_l of a CLIP loader, or that of SD2.x or SDXL. That of an SD1.x checkpoint has none.",
                ),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="The image half of the same CLIP: ViT-L-14 for clip_l, ViT-H-14 for SD2.x, ViT-bigG-14 for SDXL.",
                ),
                io.Image.Input(
                    "others",
                    optional=True,
                    tooltip="Photos of other people, to see how like strangers are. Without them, those that come with the installed packages are used.",
                ),
                sockets.Persona.Input(
                    "persona",
                    optional=True,
                    tooltip="Its placeholder in the text then counts as its common word, and its file can keep the score.",
                ),
                io.Boolean.Input(
                    "keep_score",
                    default=False,
                    optional=True,
                    tooltip="Write the score into the persona's file, where Persona Info and the gallery show it.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The pictures, best first."),
                io.Image.Output(
                    display_name="boxes", tooltip="The same, each face with its box and how like it is, best first."
                ),
                ScoredPictures.Output(display_name="scores", tooltip="To Pick Best."),
                io.Float.Output(
                    display_name="id",
                    tooltip="How like the faces are: the mean cosine with the reference. 0 if there is no face.",
                ),
                io.Float.Output(
                    display_name="prompt", tooltip="How well the pictures show the text: CLIP's cosine. 0 if not asked."
                ),
                io.Float.Output(display_name="detect", tooltip="The share of pictures with a face."),
                io.Float.Output(
                    display_name="id_prompt",
                    tooltip="id, counted 0 for pictures without a face and for those that do not show the text.",
                ),
                io.String.Output(display_name="text", tooltip="All figures as a table, and what they mean."),
            ],
        )
        return sockets.few_first(schema, "text", "keep_score")

    @classmethod
    def execute(
        cls,
        image: Tensor,
        reference: Tensor,
        text: str = "",
        threshold: float = THRESHOLD,
        clip: CLIP | None = None,
        clip_vision: ClipVisionModel | None = None,
        others: Tensor | None = None,
        persona: Persona | None = None,
        keep_score: bool = False,
    ) -> io.NodeOutput:
        if keep_score and persona is None:
            raise ValueError("keep_score is on, but no persona is wired in whose file could keep it.")
        images, photos = rgb(image).float().cpu(), rgb(reference).float().cpu()
        scorer, bar = Scorer(), ProgressBar(2 * len(photos) + len(images))
        whose = scorer.reference(photos, others, lambda: bar.update(1))
        said = text if persona is None else text.replace(persona.placeholder, persona.supercategory)
        asked = scores_of_prompt(images, photos, said, clip, clip_vision)
        scored = scorer.score(images, whose, asked, threshold, lambda: bar.update(1))
        scores, table = scored.scores, f"{score_sheet.table(scored.scores)}\n\n{scored.meaning}"
        if keep_score:
            keep(persona, scored)
        sheet = score_sheet.sheet(images, scores)
        shown = {**ui.PreviewImage(reduced(sheet), cls=cls).as_dict(), "text": (table,), **notices.line(scored.said[0])}
        return io.NodeOutput(
            chosen(images, scores.order), sheet, ScoredBatch(images, scores), scores.id or 0.0, scores.prompt or 0.0,
            scores.detect, scores.id_prompt, table, ui=shown,
        )  # fmt: skip


def chosen(images: Tensor, numbers: list[int]) -> Tensor:
    """Those pictures; no copy of them where they are all, in order, as one alone is."""
    return images if numbers == list(range(len(images))) else images[numbers]


def keep(persona: Persona, scored: Scored) -> None:
    """Write the score into the persona's file."""
    if not store.keep_settings(persona, scored.kept):
        name = shown(persona.name, QUOTED)
        warn(f"The score was not kept: models/personas holds no file of the persona {name}.")


class PickBest(io.ComfyNode):
    """The best of scored pictures."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonaPickBest",
            display_name="Pick Best",
            **sockets.also_found_as("best of batch, select images, filter, rank, sort"),
            category=sockets.CATEGORY,
            description="Keeps the best pictures of a batch that Persona Score has scored: paint eight, keep two.",
            inputs=[
                ScoredPictures.Input("scores", tooltip="From Persona Score."),
                io.Int.Input("count", default=1, min=1, max=4096, tooltip="How many to keep."),
                io.Latent.Input(
                    "latent",
                    optional=True,
                    tooltip="The latents that the pictures were decoded from, to go on with those of the best.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The best pictures, best first."),
                io.Latent.Output(display_name="latent", tooltip="Their latents, if they were wired in."),
            ],
        )

    @classmethod
    def execute(cls, scores: ScoredBatch, count: int, latent: dict | None = None) -> io.NodeOutput:
        best = scores.scores.order[:count]
        said = f"Picture{'s' * (len(best) > 1)} {', '.join(map(str, best))} of {len(scores.images)}, counted from 0."
        if count > len(best):
            said += f" There are not {count}."
        if latent is None:
            latents = ExecutionBlocker(
                "Pick Best has no latents to give: wire the batch's latents into its latent input."
            )
        else:
            latents = chosen_latents(latent, best, len(scores.images))
        return io.NodeOutput(chosen(scores.images, best), latents, ui=notices.line(said))


def chosen_latents(latent: dict, numbers: list[int], pictures: int) -> dict:
    """Those rows of a LATENT, of as many as there are pictures. Raises ValueError with a sentence."""
    rows = len(latent["samples"])
    if rows != pictures:
        raise ValueError(
            f"There are {rows} latents but {pictures} scored pictures. Wire in the latents that the pictures were "
            "decoded from."
        )

    def rows_of(value):
        if isinstance(value, Tensor) and len(value) == rows:
            return value[numbers]
        return [value[number] for number in numbers] if isinstance(value, list) and len(value) == rows else value

    return {name: rows_of(value) for name, value in latent.items()}


NODES = [PersonaScore, PickBest]
