"""CLIP scores with the host's own encoders: small ones, whose two halves have been made to fit."""

import json

import pytest
import tiny_models
import torch
from comfy.clip_vision import ClipVisionModel

from persona_core.host import clip_score
from persona_core.host.apply.encoding import apply_to_clip
from persona_core.table import AppliedPersona

WIDTH = 64  # of the tiny text encoder's embeddings


@pytest.fixture
def clip_vision(tmp_path):
    file = tmp_path / "vision.json"
    file.write_text(json.dumps({**tiny_models.VISION, "projection_dim": WIDTH}))
    encoder = ClipVisionModel(file)
    tiny_models.fill(encoder.model, 3)
    return encoder


@pytest.fixture
def pictures():
    return torch.rand(3, 48, 40, 3, generator=torch.Generator().manual_seed(0))


def fitted(clip, clip_vision, pictures):
    """Turns the image encoder's embeddings so that the first picture lies at the description of a person."""
    with torch.no_grad():
        text, image = (
            clip_score.embed_texts(clip, [clip_score.DESCRIPTION]),
            clip_score.embed_images(clip_vision, pictures[:1]),
        )
        middle = torch.nn.functional.normalize(text + image, dim=-1)
        turned = 2 * middle.T @ middle - torch.eye(WIDTH)
        projection = clip_vision.model.visual_projection.weight
        projection.copy_(turned @ projection)


def test_it_is_the_cosine_of_both_encoders_embeddings(clip, clip_vision, pictures):
    found = clip_score.prompt_scores(clip, clip_vision, "a woman in a red hat", pictures, pictures)
    projection = clip.cond_stage_model.clip_l.transformer.text_projection.weight

    def embedded(text):
        return clip.encode_from_tokens(clip.tokenize(text), return_pooled=True)[1].float() @ projection.T

    text = embedded("a woman in a red hat")
    seen = clip_vision.encode_image(pictures)["image_embeds"].float()
    assert found.each == pytest.approx(torch.cosine_similarity(text, seen).tolist(), abs=1e-5)
    others = [torch.cosine_similarity(embedded(one), seen) for one in clip_score.UNRELATED]
    expected = torch.stack(others).mean()
    assert found.unrelated == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize(("family", "width"), [("sd2", 64), ("sdxl", 128)])
def test_the_host_projects_for_sd2_and_sdxl_itself(family, width, tmp_path, pictures):
    clip = tiny_models.clip(family)
    (text,) = clip_score.embed_texts(clip, ["a hat"])
    pooled = clip.encode_from_tokens(clip.tokenize("a hat"), return_pooled=True)[1][0].float()
    assert text.shape == (width,) and float(torch.cosine_similarity(text, pooled, dim=0)) == pytest.approx(1, abs=1e-5)


def test_encoders_of_no_one_clip_are_told_by_a_photo(clip, clip_vision, pictures, caplog):
    clip_score.prompt_scores(clip, clip_vision, "a hat", pictures, pictures[:1])
    assert "The prompt figures mean nothing" in caplog.text and "ViT-L-14" in caplog.text
    caplog.clear()
    fitted(clip, clip_vision, pictures)
    clip_score.prompt_scores(clip, clip_vision, "a hat", pictures, pictures[:1])
    assert not caplog.text


def test_embeddings_of_other_lengths_are_refused(clip, tmp_path, pictures):
    with pytest.raises(ValueError, match="do not belong together: .* 64 and 16 numbers.*ViT-H-14"):
        clip_score.prompt_scores(clip, tiny_models.clip_vision(tmp_path), "a hat", pictures, pictures)


def test_a_projection_that_was_never_loaded_is_refused(clip, clip_vision, pictures):
    clip.cond_stage_model.clip_l.transformer.text_projection.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match="lacks its projection"):
        clip_score.prompt_scores(clip, clip_vision, "a hat", pictures, pictures)


def test_a_placeholder_is_its_common_word_with_applys_clip_and_mere_letters_without(
    clip, ann, clip_vision, pictures, caplog
):
    applied = apply_to_clip(clip, AppliedPersona(ann), "<ann>")

    def scored(one, text):
        return clip_score.prompt_scores(one, clip_vision, text, pictures, pictures).each

    assert scored(applied, "a photo of <ann> in a hat") == scored(clip, "a photo of face in a hat")
    assert "mere letters" not in caplog.text
    scored(clip, "a photo of <ann>")
    assert "<ann> in the text is mere letters to this clip" in caplog.text
