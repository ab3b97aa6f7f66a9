"""What an artist says of a photo and of the checkpoint, and what learning makes of it."""

from dataclasses import replace

import pytest
import tiny_models
import torch
from jobs import learned, tensors
from recording import encode_one

from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.apply.sampling import TABLE
from persona_core.host.clip import text_towers
from persona_core.host.model import best_resolution
from persona_core.names import FIRST, LAST
from persona_core.persona import LAST_LAYER, Persona
from persona_core.recipes import NAMES, KVTokensRecipe, StageMapperRecipe
from persona_core.table import AppliedPersona
from persona_core.task import TrainingSettings


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


def test_the_context_loss_keeps_other_words_where_they_are_beside_the_common_word(job, tmp_path):
    def moved(weight):
        learning = replace(job.recipe.learning, steps=30, learning_rate=5e-3)
        asked = replace(job, recipe=replace(job.recipe, learning=learning, context_weight=weight, te_weight=0.0))
        persona = learned(asked, tmp_path, name=f"weight {weight}")
        return persona.losses.get("context"), persona

    (none, free), (losses, kept) = moved(0.0), moved(100.0)
    assert none is None and losses[0] == pytest.approx(0, abs=1e-6)
    clip = job.clip

    def distance(persona):
        table = encode_one(apply_to_clip(clip, AppliedPersona(persona, late="persona"), "<ann>"), "<ann> in a garden")
        keys, _ = table[1][TABLE].at(600)
        plain = encode_one(clip, "face face face face in a garden")[0]
        return float((keys - plain)[0, 5:8].square().mean())

    assert distance(kept) < 0.5 * distance(free)


@pytest.mark.parametrize("kind", [StageMapperRecipe, KVTokensRecipe])
def test_tokens_may_start_at_names(job, tmp_path, kind):
    towers = text_towers(job.clip)
    settings = TrainingSettings(steps=1, learning_rate=1e-12)
    recipe = kind(supercategory="person", resolution=64, learning=settings, start=NAMES)
    persona = learned(replace(job, recipe=recipe), tmp_path, name=kind.__name__)
    vectors = persona.representation.at(torch.tensor([500.0])).keys[0]
    for vector, names in zip(vectors, (FIRST, LAST)):
        mean = torch.stack([towers.word(name) for name in names]).mean(0)
        assert torch.cosine_similarity(vector, mean, dim=0) > 0.99
        assert float(vector.norm()) == pytest.approx(float(towers.word("person").norm()), rel=1e-2)
    assert persona.settings["tokens start at"] == "names"
    cat = learned(replace(job, recipe=replace(recipe, supercategory="cat")), tmp_path, name="cat")
    vectors = cat.representation.at(torch.tensor([500.0])).keys[0]
    assert torch.cosine_similarity(vectors[0], towers.word("cat"), dim=0) > 0.99


def test_a_caption_stands_behind_every_prompt_that_a_picture_goes_with(job, tmp_path):
    told = replace(job, recipe=replace(job.recipe, caption="wearing glasses"))
    assert told.recipe.objective(lambda word, called: torch.ones(64)).prompts[0].endswith("{}, wearing glasses")
    plain, captioned = learned(job, tmp_path, name="plain"), learned(told, tmp_path, name="captioned")
    assert captioned.settings["caption"] == "wearing glasses" and not torch.equal(
        *(tensors(one)["head.weight"] for one in (plain, captioned))
    )


@pytest.mark.parametrize(
    ("caption", "says"),
    [
        ("very " * 80, "longer than"),
        ("beside {}", "plain words"),
        ("beside <bob>", "plain words"),
        ("smiling (outdoors)", "plain words"),
        ("(a hat:1.5)", "plain words"),
        ("embedding:nobody", "plain words"),
    ],
)
def test_a_caption_that_cannot_be_learned_with_is_a_sentence(job, tmp_path, ann, caption, says):
    clip = apply_to_clip(job.clip, AppliedPersona(ann), "<bob>")
    with pytest.raises(ValueError, match=f"{says}.*caption"):
        learned(replace(job, clip=clip, recipe=replace(job.recipe, caption=caption)), tmp_path)
