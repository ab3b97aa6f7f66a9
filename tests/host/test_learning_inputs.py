"""What an artist says of a photo and of the checkpoint, and what learning makes of it."""

from dataclasses import replace

import pytest
import tiny_models
import torch
from jobs import learned, tensors

from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.model import best_resolution
from persona_core.persona import LAST_LAYER, Persona
from persona_core.table import AppliedPersona


@pytest.mark.parametrize(
    ("kind", "width", "pixels"),
    [({}, 768, 512), ({"velocity": True}, 768, 512), ({}, 1024, 512), ({"velocity": True}, 1024, 768),
     ({"sdxl": True}, 2048, 1024)],
)  # fmt: skip
def test_each_family_has_a_resolution_that_it_paints_best_at(kind, width, pixels):
    model = tiny_models.model(**kind)
    model.model.model_config.unet_config["context_dim"] = width
    assert best_resolution(model) == pixels


def test_the_file_says_at_which_layer_clip_stopped(job, tmp_path):
    assert learned(job, tmp_path, name="whole").settings[LAST_LAYER] == -1
    clip = job.clip.clone()
    clip.clip_layer(-2)
    persona = learned(replace(job, clip=clip), tmp_path, name="skipped")
    persona.save(tmp_path / "skipped.safetensors")
    assert Persona.load(tmp_path / "skipped.safetensors").settings[LAST_LAYER] == -2


def test_a_caption_stands_behind_every_prompt_that_a_picture_goes_with(job, tmp_path):
    told = replace(job, recipe=replace(job.recipe, caption="wearing glasses"))
    assert told.recipe.objective(lambda word, called: torch.ones(64)).prompts[0].endswith("{}, wearing glasses")
    plain, captioned = learned(job, tmp_path, name="plain"), learned(told, tmp_path, name="captioned")
    assert captioned.settings["caption"] == "wearing glasses" and not torch.equal(
        *(tensors(one)["head.weight"] for one in (plain, captioned))
    )


@pytest.mark.parametrize(
    ("caption", "says"), [("very " * 80, "longer than"), ("beside {}", "plain words"), ("beside <bob>", "plain words")]
)
def test_a_caption_that_cannot_be_learned_with_is_a_sentence(job, tmp_path, ann, caption, says):
    clip = apply_to_clip(job.clip, AppliedPersona(ann), "<bob>")
    with pytest.raises(ValueError, match=f"{says}.*caption"):
        learned(replace(job, clip=clip, recipe=replace(job.recipe, caption=caption)), tmp_path)
