"""Persona Attention: the maps are those of the words they are named after, and watching changes nothing."""

import pytest
import tiny_models
import torch
import torch.nn.functional as F
from recording import encode, sample

from persona_core.host.apply.attention_view import Seen, stages_in, watch, words_at
from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.clip import text_towers
from persona_core.kv_tokens import KVTokens
from persona_core.persona import Persona
from persona_core.stages import Stages
from persona_core.table import AppliedPersona

SIZE = 16


def look(model, clip, text, steps=10, moments=(900, 600, 200), sampler="euler", cfg=5.0):
    return watch(
        model, clip, text, "lowres", torch.zeros(1, 4, SIZE, SIZE), moments,
        steps=steps, cfg=cfg, sampler=sampler, scheduler="normal", seed=0, on_step=lambda done, total: None,
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


MOMENTS = torch.linspace(999, 0, 10).tolist()


def test_many_moments_are_as_one_by_one_and_no_other_step_is_kept(model, applied):
    _, few = look(model, applied, "a photo of <ann> in snow", steps=20)
    _, many = look(model, applied, "a photo of <ann> in snow", steps=20, moments=[900, 600, 200, *MOMENTS])
    for one, other in zip(few, many):
        assert one.t == other.t
        torch.testing.assert_close(one.maps["<ann>"], other.maps["<ann>"])
    at = [one.t for one in many[3:]]
    assert at == sorted(at, reverse=True) and all(abs(t - moment) < 30 for t, moment in zip(at, MOMENTS))


@pytest.mark.parametrize("sampler, steps, seen", [("euler", 3, 3), ("heun", 3, 3), ("ddim", 1, 1), ("dpm_2", 3, 5)])
def test_fewer_steps_than_moments_are_each_seen_once(model, applied, sampler, steps, seen):
    """A sampler that looks twice in a step may have more timesteps than steps."""
    _, found = look(model, applied, "a photo of <ann> in snow", steps, MOMENTS, sampler)
    assert len(found) == 10 and len({one.t for one in found}) == seen
    _, alone = look(model, applied, "a photo of <ann> in snow", 10, [999])  # all begin with the same noise
    torch.testing.assert_close(found[0].maps["<ann>"], alone[0].maps["<ann>"], atol=1e-4, rtol=1e-3)


def test_only_the_steps_nearest_to_a_moment_are_kept():
    seen, passed = Seen(), [999, 900, 700, 500, 300, 100]
    for t in passed:
        for layer in (1.0, 3.0):
            seen.keep(t, torch.full((2, 4, 4), layer), [880, 320, 310])
    assert seen.nearest == {880: 900, 320: 300, 310: 300} and set(seen.steps) == {900, 300}
    assert all((step.total / step.count == 2).all() for step in seen.steps.values())


def test_the_stages_of_each_persona_in_the_prompt(clip, ann, make_persona_of):
    bob = Persona("bob", KVTokens(ann.representation.word, torch.zeros(5, 2, 64)), ann.family, "face")
    both = apply_to_clip(apply_to_clip(clip, AppliedPersona(ann), "<ann>"), AppliedPersona(bob), "<bob>")
    text = "<ann> and <bob>, <ann> smiling"
    of_ann = ann.representation.stages
    assert stages_in(both, text) == {"<ann>": of_ann, "<bob>": Stages(0, 999), "<ann> (2)": of_ann}
    section, tower = both.tokenize(text)["l"][0], text_towers(both).first
    assert set(stages_in(both, text)) < {word for word, _ in words_at(section, 600, tower)}
    assert stages_in(clip, text) == {}
