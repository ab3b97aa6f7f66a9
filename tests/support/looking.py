"""What a job's models paint, where words look in it, and what it scores: each a list of tensors."""

import json
import tempfile
from pathlib import Path

import tiny_models
import torch
from comfy.clip_vision import ClipVisionModel
from recording import encode, sample

from persona_core.host.apply.attention_view import watch
from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.apply.sampling import apply_to_model
from persona_core.host.clip import text_towers
from persona_core.host.clip_score import prompt_scores
from persona_core.host.learn.attention_curve import attention_curve
from persona_core.host.learn.latents import embed
from persona_core.kv_tokens import KVTokens
from persona_core.persona import Persona
from persona_core.table import AppliedPersona

TEXT = "<ann> beside <bob>"
LEFT = torch.cat([torch.ones(8, 4), torch.zeros(8, 4)], 1)


def with_people(clip):
    """A CLIP that knows <ann>, who has a bypass, and <bob>, whose V has its own tokens; each has half a picture. Where
    text and picture attend jointly, there are neither such tokens nor places, and in other transformers no places."""
    towers = text_towers(clip)
    if towers.joint:
        ann, bob = (AppliedPersona(tiny_models.persona(clip, seed=seed), 0.8, late="persona") for seed in (0, 1))
        return apply_to_clip(apply_to_clip(clip, ann, "<ann>"), bob, "<bob>")
    word, generator = towers.word("face"), torch.Generator().manual_seed(1)
    tokens = word + 0.02 * torch.randn(5, 2, len(word), generator=generator)
    bob = Persona("bob", KVTokens(word, tokens, towers.widths), towers.family, "face")
    left, right = (LEFT, 1 - LEFT) if towers.sectioned else (None, None)
    ann = AppliedPersona(tiny_models.persona(clip), 0.8, late="persona", mask=left, context_preservation=0.5)
    return apply_to_clip(apply_to_clip(clip, ann, "<ann>"), AppliedPersona(bob, mask=right), "<bob>")


def painted(job):
    clip = with_people(job.clip)
    model = apply_to_model(apply_to_model(job.model, "<ann>"), "<bob>")
    return [sample(model, encode(clip, TEXT), encode(clip, "lowres"), steps=3, batch=2)]


def seen(job):
    """The picture of Persona Attention, and its maps at two moments."""
    picture, found = watch(
        job.model, with_people(job.clip), TEXT, "lowres", torch.zeros(1, 4, 8, 8), (900, 600),
        steps=3, cfg=4.0, sampler="euler", scheduler="normal", seed=0, on_step=lambda done, total: None,
    )  # fmt: skip
    return [picture, *(one for moment in found for one in moment.maps.values())]


def curve(job):
    """Of Stage Partition."""
    found = attention_curve(job.model, job.clip, job.vae, job.photos[0], "face", 250, 2, 0, lambda done, total: None)
    return [found.iou, found.maps, found.mask]


def scored(job):
    """Of Persona Score: how well pictures show a text."""
    width = job.clip.cond_stage_model.clip_l.transformer.text_projection.weight.shape[0]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vision.json"
        file.write_text(json.dumps({**tiny_models.VISION, "projection_dim": width}))
        encoder = ClipVisionModel(file)
    tiny_models.fill(encoder.model, 3)
    encoder.patcher.load_device = encoder.load_device = job.model.load_device
    pictures = torch.stack([photo.image for photo in job.photos])
    scores = prompt_scores(job.clip, encoder, "a woman in a red hat", pictures, pictures)
    return [torch.tensor([*scores.each, scores.unrelated]), embed(encoder, job.photos)]
