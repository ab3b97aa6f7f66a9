"""Persona Attention: the maps are those of the words they are named after, and watching changes nothing."""

import tiny_models
import torch
import torch.nn.functional as F
from recording import encode, sample

from persona_core.host.apply.attention_view import watch, words_at
from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.clip import text_towers
from persona_core.table import AppliedPersona

SIZE = 16


def look(model, clip, text, steps=10):
    return watch(
        model, clip, text, "lowres", torch.zeros(1, 4, SIZE, SIZE), [900, 600, 200],
        steps=steps, cfg=5.0, sampler="euler", scheduler="normal", seed=0, on_step=lambda done, total: None,
    )  # fmt: skip


def test_words_and_their_places_before_and_in_the_dynamic_stage(clip, applied):
    tower = text_towers(clip).first
    section = applied.tokenize("a photo of <ann> holding a cup")[tower.key][0]
    dynamic = dict(words_at(section, 600, tower))
    assert dynamic == {
        "a": [1], "photo": [2], "of": [3], "<ann>": [4, 5, 6, 7], "holding": [8], "a (2)": [9], "cup": [10]
    }  # fmt: skip
    early = dict(words_at(section, 900, tower))
    assert early["<ann>"] == [4] and early["cup"] == [7] and list(early) == list(dynamic)


def test_pieces_of_one_word_are_one_word(clip):
    tower = text_towers(clip).first
    section = clip.tokenize("an xylophonist sings")[tower.key][0]
    words = words_at(section, 0, tower)
    assert [word for word, _ in words] == ["an", "xylophonist", "sings"] and len(words[1][1]) > 1


def test_the_picture_is_the_samplers_and_the_maps_are_probabilities(model, applied):
    painted, found = look(model, applied, "a photo of <ann> in snow")
    positive, negative = encode(applied, "a photo of <ann> in snow"), encode(applied, "lowres")
    torch.testing.assert_close(painted, sample(model, positive, negative, steps=10, size=SIZE), atol=1e-3, rtol=1e-3)
    assert [abs(one.t - moment) < 60 for one, moment in zip(found, (900, 600, 200))] == [True] * 3
    for one in found:
        assert list(one.maps) == ["a", "photo", "of", "<ann>", "in", "snow"]
        assert all(m.shape == (SIZE, SIZE) and m.min() >= 0 for m in one.maps.values())
        assert sum(one.maps.values()).max() <= 1 + 1e-5


def test_the_persona_changes_the_maps_only_where_it_is(model, clip, make_persona):
    applied = apply_to_clip(clip, AppliedPersona(make_persona()), "<ann>")
    mine, plain = (look(model, c, text)[1] for c, text in ((applied, "a <ann> cup"), (clip, "a face cup")))
    torch.testing.assert_close(mine[0].maps["cup"], plain[0].maps["cup"], atol=1e-5, rtol=1e-4)  # the early stage
    assert not torch.allclose(mine[1].maps["cup"], plain[1].maps["cup"], atol=1e-5)


def test_the_model_is_left_without_a_trace(model, applied):
    before = dict(model.model_options.get("transformer_options", {}))
    look(model, applied, "a <ann>", steps=3)
    assert model.model_options.get("transformer_options", {}) == before


def test_the_maps_are_the_layers_own_of_the_positive_prompt(model, applied):
    """Against softmax(Q K^T / sqrt(d)) of what the layers computed in a sampling run without watching."""
    positive, negative = encode(applied, "a photo of <ann> in snow"), encode(applied, "lowres")
    unet, passes = model.model.diffusion_model, []
    hooks = [unet.register_forward_pre_hook(lambda module, args, kwargs: passes.append((
        float(args[1][0]), kwargs["transformer_options"]["cond_or_uncond"], []
    )), with_kwargs=True)]  # fmt: skip
    for name, module in unet.named_modules():
        if name.endswith("attn2"):
            for part in (module.to_q, module.to_k):
                hooks.append(part.register_forward_hook(
                    lambda m, inputs, output, heads=module.heads: passes[-1][2].append((heads, output.clone()))
                ))  # fmt: skip
    sample(model, positive, negative, steps=10, size=SIZE)
    for hook in hooks:
        hook.remove()
    _, found = look(model, applied, "a photo of <ann> in snow")
    for one, snow in zip(found, (6, 9, 9)):  # before the dynamic stage, one token stands for the persona's four
        at, groups, recorded = min((seen for seen in passes if 0 in seen[1]), key=lambda seen: abs(seen[0] - one.t))
        assert abs(at - one.t) < 1
        row, maps = groups.index(0), []
        for (heads, queries), (_, keys) in zip(recorded[::2], recorded[1::2]):
            side = int(queries.shape[1] ** 0.5)
            if side not in (SIZE // 2, SIZE // 4):
                continue
            share = len(queries) // len(groups)
            q, k = (x[row * share].reshape(x.shape[1], heads, -1).transpose(0, 1) for x in (queries, keys))
            shares = torch.softmax(q @ k.transpose(1, 2) / q.shape[-1] ** 0.5, -1).mean(0)[:, snow]
            maps.append(F.interpolate(shares.reshape(1, 1, side, side), (SIZE, SIZE), mode="bilinear")[0, 0])
        torch.testing.assert_close(one.maps["snow"], torch.stack(maps).mean(0), atol=1e-5, rtol=1e-3)


def test_outside_its_mask_a_persona_is_looked_for_by_nobody_and_the_picture_is_the_samplers(model, clip, ann):
    left = torch.cat([torch.ones(SIZE, SIZE // 2), torch.zeros(SIZE, SIZE // 2)], 1)
    masked = apply_to_clip(clip, AppliedPersona(ann, mask=left), "<ann>")
    painted, found = look(model, masked, "a photo of <ann> in snow")
    for one in found:
        inside, outside = one.maps["<ann>"][:, :2], one.maps["<ann>"][:, -2:]  # between, small layers blur
        assert outside.max() < 1e-3 * inside.min() and one.maps["snow"][:, -2:].min() > 1e-3
    positive, negative = encode(masked, "a photo of <ann> in snow"), encode(clip, "lowres")
    torch.testing.assert_close(painted, sample(model, positive, negative, steps=10, size=SIZE), atol=1e-3, rtol=1e-3)


def test_sdxl_is_watched_too(make_persona_of):
    clip = apply_to_clip(tiny_models.clip("sdxl"), AppliedPersona(make_persona_of("sdxl")), "<ann>")
    _, found = look(tiny_models.model(sdxl=True), clip, "a photo of <ann> in snow")
    for one in found:
        assert list(one.maps) == ["a", "photo", "of", "<ann>", "in", "snow"]
        assert 0 < sum(one.maps.values()).max() <= 1 + 1e-5
