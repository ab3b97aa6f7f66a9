"""A persona with a place: outside it, its tokens draw no attention in any layer."""

from dataclasses import replace
from uuid import uuid4

import pack
import pytest
import torch
from other_packs import coupled
from recording import encode, sample

from persona_core.host.apply import places
from persona_core.host.apply.context import PersonaNotFollowed
from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.apply.places import Followed, bias_of, bias_of_one
from persona_core.host.apply.sampling import TABLE, apply_to_model
from persona_core.table import AppliedPersona

NEGATIVE = "lowres"


@pytest.fixture
def left():
    """The left half of a picture, with a soft edge."""
    return torch.cat([torch.ones(64, 24), torch.linspace(1, 0, 16).expand(64, 16), torch.zeros(64, 24)], 1)


def prompt(clip, ann, mask, text="a photo of <ann> in snow"):
    return encode(apply_to_clip(clip, AppliedPersona(ann, late="persona", mask=mask), "<ann>"), text)


class Layers:
    """What went through the cross-attentions of a pass: query, key, value and result of each, row by row."""

    def __init__(self, model):
        self.seen = []
        for name, module in model.model.diffusion_model.named_modules():
            if name.endswith("attn2"):
                parts = {}
                for part in ("to_q", "to_k", "to_v"):
                    getattr(module, part).register_forward_hook(
                        lambda m, inputs, output, part=part, parts=parts: parts.update({part: output.clone()})
                    )
                module.to_out.register_forward_pre_hook(
                    lambda m, inputs, heads=module.heads, parts=parts: self.seen.append(
                        (heads, dict(parts), inputs[0].clone())
                    )
                )


def expected(heads, parts, weight):
    """Attention in which a token draws `weight` [places, L] of what it would."""
    query, key, value = (
        part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (parts["to_q"], parts["to_k"], parts["to_v"])
    )
    scores = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).exp() * weight
    return (scores / scores.sum(-1, keepdim=True) @ value).transpose(1, 2).flatten(2)


def test_in_every_layer_a_token_draws_as_much_as_the_mask_says(model, clip, ann, left):
    layers = Layers(model)
    sample(model, prompt(clip, ann, left), encode(clip, NEGATIVE), steps=2, cfg=1.0, denoise=0.5, size=16)
    assert layers.seen
    for heads, parts, result in layers.seen:
        side = round(parts["to_q"].shape[1] ** 0.5)
        mask = torch.nn.functional.interpolate(
            left[None, None], (side, side), mode="bilinear", antialias=True
        ).flatten()
        weight = torch.ones(side * side, parts["to_k"].shape[1])
        weight[:, 4:8] = mask[:, None].clamp(min=1e-30)  # after the start token and "a photo of"
        torch.testing.assert_close(result, expected(heads, parts, weight), atol=1e-4, rtol=1e-3)


def test_a_mask_of_everywhere_is_no_mask_and_one_of_nowhere_is_another_picture(model, clip, ann):
    negative = encode(clip, NEGATIVE)
    plain, everywhere, nowhere = (
        sample(model, prompt(clip, ann, mask), negative) for mask in (None, torch.ones(8, 8), torch.zeros(8, 8))
    )
    torch.testing.assert_close(plain, everywhere, atol=1e-4, rtol=1e-3)
    assert (plain - nowhere).abs().mean() > 1e-3


def test_two_personas_each_have_their_own_place(clip, ann, make_persona, left):
    bob = replace(make_persona(seed=1), name="bob")
    knowing = apply_to_clip(clip, AppliedPersona(ann, late="persona", mask=left), "<ann>")
    knowing = apply_to_clip(knowing, AppliedPersona(bob, late="persona", mask=1 - left), "<bob>")
    table = encode(knowing, "<ann> and <bob> and <ann>")[0][1][TABLE]
    one, other = table.places_at(600)
    assert torch.equal(one.mask, left) and torch.equal(other.mask, 1 - left)
    assert one.tokens[0].nonzero().flatten().tolist() == [1, 2, 3, 4, 11, 12, 13, 14]
    assert other.tokens[0].nonzero().flatten().tolist() == [6, 7, 8, 9]
    one, other = table.places_at(900)  # there the common words stand
    assert one.tokens[0].nonzero().flatten().tolist() == [1, 5] and other.tokens[0].nonzero().flatten().tolist() == [3]


def test_a_place_follows_a_context_through_other_nodes(clip, ann, left):
    context = prompt(clip, ann, left, "<ann> in snow")[0][0]
    plain = encode(clip, "a garden")[0][0]
    (place,) = torch.cat([plain, context], 1).table.places_at(600)
    assert place.tokens[0].nonzero().flatten().tolist() == [78, 79, 80, 81] and place.tokens.shape == (1, 154)
    kept = [1, 2, 3, 4]
    for changed in (
        context * 0.5 + plain * 0.5,
        context / context.norm(dim=-1, keepdim=True),
        context - context.mean(),
        context.transpose(1, 2).transpose(1, 2),
        context[0].unsqueeze(0),
        context * torch.linspace(0.5, 1, 77)[None, :, None],
        torch.nn.functional.layer_norm(context, context.shape[-1:]),
    ):
        (place,) = changed.table.places_at(600)
        assert place.tokens[0].nonzero().flatten().tolist() == kept
    assert not context.view(-1).table.places_at(600)  # no context any more


def test_each_row_of_a_context_has_its_own_words(model, clip, ann, left):
    """As nodes make that encode a batch of prompts: one context, a row for each picture."""
    garden, lowres = encode(clip, "a garden with <ann>")[0], encode(clip, NEGATIVE)
    layers = Layers(model)
    ((context, more),) = prompt(clip, ann, left)
    both = torch.cat([context, garden[0]])
    (place,) = both.table.places_at(600)
    assert [row.nonzero().flatten().tolist() for row in place.tokens] == [[4, 5, 6, 7], []]
    sample(model, [[both, more]], lowres, steps=2, cfg=1.0, denoise=0.5, batch=3)
    for heads, parts, result in layers.seen:
        side = round(parts["to_q"].shape[1] ** 0.5)
        mask = torch.nn.functional.interpolate(left[None, None], (side, side), mode="bilinear", antialias=True)
        weight = torch.ones(3, 1, side * side, parts["to_k"].shape[1])
        weight[::2, ..., 4:8] = mask.flatten()[:, None].clamp(min=1e-30)  # the third picture has the first prompt again
        torch.testing.assert_close(result, expected(heads, parts, weight), atol=1e-4, rtol=1e-3)


def test_beside_another_packs_attention_its_part_stays(model, clip, ann):
    """As IP-Adapter's, which adds to what the text gives."""

    def with_more(model):
        patched = model.clone()

        def attend(query, key, value, extra):
            heads = extra["n_heads"]
            parts = {"to_q": query, "to_k": key, "to_v": value}
            return expected(heads, parts, torch.ones(query.shape[1], key.shape[1])) + 0.1

        for block in (("input", 1), ("middle", 0), ("output", 2)):
            patched.set_model_attn2_replace(attend, *block)
        return patched

    negative = encode(clip, NEGATIVE)
    plain, placed = (sample(with_more(model), prompt(clip, ann, mask), negative) for mask in (None, torch.ones(8, 8)))
    alone = sample(model, prompt(clip, ann, None), negative)
    torch.testing.assert_close(plain, placed, atol=1e-4, rtol=1e-3)
    assert (plain - alone).abs().mean() > 1e-3


def test_attention_of_another_kind_stays_in_rows_with_a_place_and_without(model, clip, ann, left):
    """As nodes set it that bring faster attention; some of it takes no mask."""
    lengths = []

    def stronger(attention, query, key, value, heads, mask=None, **more):
        assert mask is None
        lengths.append(key.shape[1])
        return 1.5 * attention(query, key, value, heads, **more)

    patched = model.clone()
    patched.model_options["transformer_options"]["optimized_attention_override"] = stronger
    layers = Layers(model)
    sample(patched, prompt(clip, ann, left), encode(clip, NEGATIVE), steps=2, denoise=0.5, size=16)
    assert lengths.count(77) == len(layers.seen)
    for heads, parts, result in layers.seen:
        side = round(parts["to_q"].shape[1] ** 0.5)
        mask = torch.nn.functional.interpolate(left[None, None], (side, side), mode="bilinear", antialias=True)
        weight = torch.ones(2, 1, side * side, 77)
        weight[1, ..., 4:8] = mask.flatten()[:, None].clamp(min=1e-30)  # the negative prompt is the first row
        plain = expected(heads, parts, torch.ones(side * side, 77))
        torch.testing.assert_close(result, 0.5 * plain + expected(heads, parts, weight), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_outside_of_its_place_not_even_a_head_that_wants_nothing_else_sees_a_persona(left, dtype):
    tokens = torch.zeros(1, 77)
    tokens[:, 4:8] = 1
    wanted = 25 * tokens[0]  # e^25 times as much as other words
    bias = bias_of_one([(left, tokens)], left.shape, 77, 1)[0].to(dtype)
    drawn = (wanted.to(dtype) + bias).float().softmax(-1)[:, 4:8].sum(-1).reshape(left.shape)
    assert drawn[left == 0].max() < 1e-6 and drawn[left == 1].min() > 0.999 and drawn.isfinite().all()


def test_a_place_counts_at_strength_0_too(model, clip, ann, left):
    """There the common word has it."""
    word, elsewhere, anywhere = (
        encode(apply_to_clip(clip, AppliedPersona(ann, 0.0, mask=mask), "<ann>", hooked=False), "a photo of <ann>")
        for mask in (left, 1 - left, None)
    )
    numbers = [conditioning[0][0].numpy() for conditioning in (word, elsewhere)]
    assert (numbers[0] != numbers[1]).any()  # packs tell by them whether a prompt is another
    with pytest.raises(PersonaNotFollowed):
        sample(model, word, encode(clip, NEGATIVE), steps=1)
    painted = [sample(apply_to_model(model, "<ann>"), one, encode(clip, NEGATIVE), steps=1) for one in (word, anywhere)]
    assert not torch.equal(*painted)


def test_an_area_has_its_part_of_the_place(model, clip, ann, left):
    """A conditioning that paints the right half only is outside the left."""
    layers = Layers(model)
    ((context, more),) = prompt(clip, ann, left)
    area = [[context, {**more, "area": (8, 8, 0, 8), "strength": 1.0}]]
    sample(model, area, encode(clip, NEGATIVE), steps=2, cfg=1.0, denoise=0.5, size=16)
    heads, parts, result = layers.seen[0]
    whole = torch.nn.functional.interpolate(left[None, None], (16, 16), mode="bilinear", antialias=True)[0, 0]
    weight = torch.ones(parts["to_q"].shape[1], parts["to_k"].shape[1])
    weight[:, 4:8] = whole[:8, 8:].flatten()[:, None].clamp(min=1e-30)
    torch.testing.assert_close(result, expected(heads, parts, weight), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("through", ["", "area", "concat"])
def test_each_place_is_computed_once_a_run_and_not_once_a_step(model, clip, ann, left, monkeypatch, through):
    made = {name: [] for name in ("bias_of_one", "resized")}
    for name, calls in made.items():
        own = getattr(places, name)
        monkeypatch.setattr(places, name, lambda *given, own=own, calls=calls: (calls.append(given), own(*given))[1])
    ((context, more),) = prompt(clip, ann, left)
    more = {**more, "area": (8, 8, 0, 8), "strength": 1.0} if through == "area" else more
    context = torch.cat([context, encode(clip, "a garden")[0][0]], 1) if through == "concat" else context
    counts = []
    for steps in (4, 12):  # both have some in each of the stages
        sample(model, [[context, more]], encode(clip, NEGATIVE), steps=steps, cfg=1.0, size=16)
        counts.append([len(calls) for calls in made.values()])
        [calls.clear() for calls in made.values()]
    sizes, stages = 3, 3  # of the layers; above the persona's stage, in it, below it
    # Of an area, the whole is resized first, and then each stage's part.
    assert counts == [[sizes * stages, 1 + sizes * stages if through == "area" else sizes]] * 2


def test_rows_that_another_pack_has_made_of_parts_are_left_alone_and_told(clip, ann, left, caplog):
    one = uuid4()
    followed, like = Followed({one: prompt(clip, ann, left)[0][1][TABLE].places_at(600)}, {}), torch.zeros(1)
    assert bias_of((4, 4), [one], 2, 77, 2, followed, like).shape == (2, 16, 77)
    assert bias_of((4, 4), [one], 4, 77, 2, followed, like) is None and "mask of Apply" in caplog.text
    assert len(caplog.records) == 1
    assert bias_of((4, 4), [], 2, 77, 2, replace(followed, known={}), like) is None and len(caplog.records) == 2
    assert bias_of((4, 4), [uuid4()], 2, 77, 2, followed, like) is None and len(caplog.records) == 2
    longer = bias_of((4, 4), [one], 1, 77 + 4, 1, followed, like)  # with tokens of a picture behind it
    assert not longer[..., 77:].any() and longer[0, -1, 4] < -5


def test_a_mask_for_a_model_whose_layers_are_out_of_reach_is_a_sentence(model, clip, ann, left):
    apply = pack.load("places_pack").nodes.apply.ApplyStageRegulatedEmbedding.execute
    model.model.diffusion_model = torch.nn.Identity()
    model.model.diffusion_model.dtype = torch.float32
    given = model, clip, ann, "<ann>", 1.0, "supercategory", "persona"
    apply(*given)
    with pytest.raises(ValueError, match=r"mask works inside .* \(Identity\) are out of reach\. Leave the mask away"):
        apply(*given, mask=left)
    with pytest.raises(ValueError, match="Leave the mask away"):  # also where the conditioning alone brings it
        sample(model, prompt(clip, ann, left), encode(clip, NEGATIVE), steps=1)


@pytest.mark.parametrize("masked", [True, False])
def test_a_mask_of_a_prompt_that_another_pack_has_put_beside_is_told(model, clip, ann, left, caplog, masked):
    beside = prompt(clip, ann, left if masked else None)
    sample(apply_to_model(model, "<ann>"), coupled(encode(clip, "a wood"), beside), encode(clip, NEGATIVE))
    assert ["mask of Apply is not followed" in record.message for record in caplog.records] == [True] * masked


@pytest.mark.parametrize(
    ("mask", "says"), [(torch.zeros(1, 64, 64), "all black"), (torch.ones(2, 8, 8), "one mask, but there are 2")]
)
def test_a_mask_that_says_nothing_is_a_sentence(mask, says):
    place_of = pack.load("places_pack").nodes.apply.place_of
    with pytest.raises(ValueError, match=says):
        place_of(mask)
    assert place_of(torch.full((1, 4, 4), 2.0)).max() == 1


def test_a_mask_as_large_as_a_huge_photo_is_kept_small():
    mask = torch.zeros(1, 400, 6000)
    mask[..., :3000] = 1
    kept = pack.load("places_pack").nodes.apply.place_of(mask)
    assert kept.shape == (137, 2048) and kept[:, :1000].min() > 0.99 and kept[:, 1050:].max() < 0.01
