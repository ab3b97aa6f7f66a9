"""What is painted in one batch is what is painted one by one."""

import torch

from miniworld import checkpoint
from miniworld.painting import paint, sample, sample_each
from persona_core.host.apply.encoding import apply_to_clip
from persona_core.kv_tokens import KVTokens
from persona_core.persona import Persona
from persona_core.table import AppliedPersona

PROMPTS = ["a photo of a person in a garden", "a photo of a <ann>", "a <ann> wearing a hat"]


def test_areas_of_one_canvas_are_pictures_by_themselves():
    """With a persona whose vectors depend on the timestep, and a seed each."""
    model, clip, vae = checkpoint.load()
    word = torch.randn(192, generator=torch.Generator().manual_seed(0)) / 30
    vectors = torch.randn(5, 2, 192, generator=torch.Generator().manual_seed(1)) / 30
    persona = Persona("ann", KVTokens(word, vectors), "custom (clip_l, 192 wide)", "person")
    clip = apply_to_clip(clip, AppliedPersona(persona), "<ann>")
    with torch.inference_mode():
        each = [clip.encode_from_tokens_scheduled(clip.tokenize(prompt)) for prompt in PROMPTS]
    together = sample_each(model, clip, vae, each, [7, 8, 9], 3, 5.0)
    alone = [sample(model, clip, vae, one, 1, seed, 3, 5.0) for one, seed in zip(each, (7, 8, 9))]
    torch.testing.assert_close(together, torch.cat(alone), atol=2e-3, rtol=0)
    assert (together[1] - together[2]).abs().mean() > 0.01
    torch.testing.assert_close(together[:1], paint(model, clip, vae, PROMPTS[:1], 7, 3), atol=2e-3, rtol=0)
