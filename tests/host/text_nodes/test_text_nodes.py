"""Placeholders in whatever turns text into conditionings."""

import copy
from functools import partial

import pytest
import tiny_models
import torch
from comfy_extras.nodes_clip_sdxl import CLIPTextEncodeSDXL, CLIPTextEncodeSDXLRefiner
from comfy_extras.nodes_cond import CLIPTextEncodeControlnet
from comfy_extras.nodes_model_merging import CLIPMergeSimple
from contexts import ANN_IN_SNOW, TIMES, same
from neighbours import control_net, names_of_rows, noise, text_boxes, weighed_in_another_style
from recording import Recorder, encode, sample

import nodes
from persona_core.host.apply.context import PersonaContext
from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.apply.sampling import TABLE, apply_to_model
from persona_core.table import AppliedPersona

PLAIN = "a photo of face in snow"


def low_level(clip, text):
    """As packs do that run the text encoders themselves."""
    clip.cond_stage_model.reset_clip_options()
    clip.load_model()
    return clip.cond_stage_model.encode_token_weights(clip.tokenize(text))[0]


def with_own_patcher(clip, text):
    mine = clip.clone()
    mine.patcher = clip.patcher.clone()
    return mine.encode(text)


WAYS = {
    "CLIPTextEncode": lambda clip, text: nodes.CLIPTextEncode().encode(clip, text)[0][0][0],
    "encode": lambda clip, text: clip.encode(text),
    "pooled": lambda clip, text: clip.encode_from_tokens(clip.tokenize(text), return_pooled=True)[0],
    "unprojected": lambda clip, text: clip.encode_from_tokens(clip.tokenize(text), return_pooled="unprojected")[0],
    "as a dict": lambda clip, text: clip.encode_from_tokens(clip.tokenize(text), return_pooled=True, return_dict=True)["cond"],
    "scheduled": lambda clip, text: clip.encode_from_tokens_scheduled(clip.tokenize(text), add_dict={"width": 64})[0][0],
    "copied tokens": lambda clip, text: clip.encode_from_tokens(copy.deepcopy(clip.tokenize(text))),
    "a clone": lambda clip, text: clip.clone().encode(text),
    "another patcher": with_own_patcher,
    "the encoders themselves": low_level,
    "numbered words": lambda clip, text: clip.encode_from_tokens(clip.tokenize(text, return_word_ids=True)),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_encode_gives_the_table(way, applied, clip, usual):
    context = WAYS[way](applied, ANN_IN_SNOW)
    assert isinstance(context, PersonaContext) and same(context, usual[0][0])
    assert torch.equal(WAYS[way](applied, PLAIN), WAYS[way](clip, PLAIN))


def test_a_context_without_its_dict_is_painted_through_the_routed_model(model, applied, usual):
    negative = encode(applied, "lowres")
    painted, bare = sample(model, usual, negative), [[applied.encode(ANN_IN_SNOW), {}]]
    assert torch.equal(sample(apply_to_model(model, "<ann>"), bare, negative), painted)


def test_one_encoder_asked_past_the_host_gives_the_word_and_is_told(model, applied, clip, caplog):
    """Nothing of ours can see it; the routed MODEL does."""
    applied.load_model()
    context = applied.cond_stage_model.clip_l.encode_token_weights(applied.tokenize(ANN_IN_SNOW)["l"])[0]
    assert not isinstance(context, PersonaContext) and torch.isfinite(context).all()
    sample(apply_to_model(model, "<ann>"), [[context, {}]], encode(clip, "lowres"))
    assert any("No prompt of this sampler holds <ann>" in record.message for record in caplog.records)


def test_token_lists_can_be_joined_and_weighted(applied, usual):
    ann, snow = (applied.tokenize(text)["l"][0] for text in ("a photo of <ann>", "in snow"))
    words = [pair for pair in ann if not (isinstance(pair[0], int) and pair[0] >= 49406)]
    rest = [pair for pair in snow if pair[0] < 49406]
    start, end = (49406, 1.0), (49407, 1.0)
    joined = [start, *words, *rest]
    joined += [end] * (77 - len(joined))
    assert same(applied.encode_from_tokens({"l": [joined]}), usual[0][0])
    heavy = [(token, 1.3 if not isinstance(token, int) else weight) for token, weight in joined]
    assert same(applied.encode_from_tokens({"l": [heavy]}), applied.encode("a photo of (<ann>:1.3) in snow"))
    sections = applied.encode_from_tokens({"l": [joined, applied.tokenize("lowres")["l"][0]]})
    for t in TIMES:
        expected = usual[0][0].table.at(t)
        for side, one in zip(sections.table.at(t), expected, strict=True):
            torch.testing.assert_close(side[:, :77], one, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(side[:, 77:], applied.encode("lowres"), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("layer", [-1, -2])
def test_clip_skip_before_and_after_apply_is_the_same(layer, clip, applied, ann, usual):
    skip = partial(nodes.CLIPSetLastLayer().set_last_layer, stop_at_clip_layer=layer)
    after, before = skip(applied)[0], apply_to_clip(skip(clip)[0], AppliedPersona(ann), "<ann>")
    context = after.encode(ANN_IN_SNOW)
    assert same(context, before.encode(ANN_IN_SNOW)) and same(context, usual[0][0]) == (layer == -1)


def test_a_lora_on_clip_changes_the_table_in_either_order_and_leaves_no_trace(model, clip, applied, ann, lora):
    load = partial(nodes.LoraLoader().load_lora, lora_name=lora, strength_model=1.0, strength_clip=1.0)
    usual = applied.encode(ANN_IN_SNOW)
    styled_model, styled = load(model, clip)
    first, last = (
        apply_to_clip(styled, AppliedPersona(ann), "<ann>").encode(ANN_IN_SNOW),
        load(model, applied)[1].encode(ANN_IN_SNOW),
    )
    assert same(first, last) and torch.equal(first.table.base, styled.encode(PLAIN))
    for t in TIMES:
        assert not any(
            torch.allclose(*pair, atol=1e-2) for pair in zip(first.table.at(t), usual.table.at(t), strict=True)
        )
    negative = encode(clip, "lowres")
    pictures = [
        sample(one, [[context, {}]], negative)
        for one, context in (
            (apply_to_model(styled_model, "<ann>"), first),
            (load(apply_to_model(model, "<ann>"), applied)[0], last),
        )
    ]
    assert torch.equal(*pictures)
    assert same(applied.encode(ANN_IN_SNOW), usual)


def test_merged_clips_keep_the_first_ones_personas(clip, applied, ann):
    other = tiny_models.clip()
    tiny_models.fill(other.cond_stage_model, 8)
    merge = partial(CLIPMergeSimple().merge, clip2=other, ratio=0.5)
    merged, expected = (
        merge(applied)[0].encode(ANN_IN_SNOW),
        apply_to_clip(merge(clip)[0], AppliedPersona(ann), "<ann>"),
    )
    assert same(merged, expected.encode(ANN_IN_SNOW)) and not same(merged, applied.encode(ANN_IN_SNOW))


@pytest.fixture(scope="module")
def sdxl():
    with torch.inference_mode():
        clip = tiny_models.clip("sdxl")
        return clip, apply_to_clip(clip, AppliedPersona(tiny_models.persona(clip)), "<ann>")


@pytest.mark.parametrize("long", ["", "neither", "l", "g"])
def test_sdxls_text_nodes_give_the_table(long, sdxl):
    def made_with(clip, word):
        text = {side: f"a {word}" + ", a tree" * (60 if long == side else 0) for side in "lg"}
        if not long:
            return CLIPTextEncodeSDXLRefiner.execute(clip, 6.0, 1024, 1024, text["g"])[0][0]
        return CLIPTextEncodeSDXL.execute(clip, 1024, 1024, 0, 0, 1024, 1024, text["g"], text["l"])[0][0]

    clip, taught = sdxl
    (context, extra), (plain, host) = made_with(taught, "<ann>"), made_with(clip, "face")
    assert context.shape == plain.shape == (1, 231 if long in "lg" and long else 77, 192) and TABLE in extra
    keys, values = context.table.at(600)
    assert keys.shape == values.shape == plain.shape and extra["width"] == host["width"]
    for side, part in {"l": slice(0, 64), "g": slice(64, 192)}.items():
        assert not torch.allclose(keys[:, :77, part], plain[:, :77, part], atol=1e-2)
        if long != side:  # a long prompt breaks elsewhere, because the persona's tokens are more than the word's one
            assert torch.equal(context[..., part], plain[..., part])
    assert long == "g" or torch.equal(extra["pooled_output"], host["pooled_output"])


def test_a_controlnets_own_prompt_follows_its_table(model, applied):
    own = CLIPTextEncodeControlnet.execute(applied, encode(applied, "in snow"), ANN_IN_SNOW)[0]
    control, given = control_net(model), []
    control.control_model.register_forward_pre_hook(
        lambda module, args, kwargs: given.append((float(kwargs["timesteps"][0]), kwargs["context"])), with_kwargs=True
    )
    hint = noise(1, 64, 64, 3).sigmoid()
    positive = nodes.ControlNetApplyAdvanced().apply_controlnet(own, [], control, hint, 1.0, 0.0, 1.0)[0]
    sample(apply_to_model(model, "<ann>"), positive, encode(applied, ""), cfg=1.0)
    assert given
    for t, context in given:
        assert torch.equal(context, own[0][1]["cross_attn_controlnet"].table.at(t)[0])


def test_unclip_conditioning_keeps_the_table(applied):
    picture = nodes.unCLIPConditioning().apply_adm(encode(applied, ANN_IN_SNOW), object(), 1.0, 0.0)[0]
    assert same(picture[0][0], encode(applied, ANN_IN_SNOW)[0][0]) and TABLE in picture[0][1]


@pytest.mark.parametrize("order", ["style first", "Apply first"])
@pytest.mark.parametrize("text", ["a photo of (<ann>:1.2) in snow", "deep " * 80 + "(snow:0.8) on <ann>"])
def test_weights_read_in_another_style(order, text, clip, ann):
    """Each context of the table is what the prompt would be if the persona always stood so: no row knows another."""
    taught = [weighed_in_another_style, partial(apply_to_clip, applied=AppliedPersona(ann), placeholder="<ann>")]
    for step in taught if order == "style first" else reversed(taught):
        clip = step(clip)
    tokens = clip.tokenize(text, return_word_ids=True)
    context, extra = clip.encode_from_tokens_scheduled(tokens)[0]
    for t in (500, 700):
        for side in extra[TABLE].at(t):
            torch.testing.assert_close(side.mean(), torch.zeros(()), atol=1e-4, rtol=0)
            assert not torch.allclose(side, extra[TABLE].base, atol=1e-2)
    assert context.shape == extra[TABLE].at(500)[0].shape


def test_options_that_a_pack_sets_hold_for_the_persona(applied):
    """As packs do that choose the layer themselves and then run the encoders."""
    skipped = applied.clone()
    skipped.clip_layer(-2)
    applied.load_model()
    inner = applied.cond_stage_model
    inner.reset_clip_options()
    inner.set_clip_options({"layer": -2})
    context = inner.encode_token_weights(applied.tokenize(ANN_IN_SNOW))[0]
    inner.reset_clip_options()
    assert same(context, skipped.encode(ANN_IN_SNOW)) and not same(context, applied.encode(ANN_IN_SNOW))


def test_boxes_of_text_beside_a_persona(model, clip, applied):
    """GLIGEN takes the pooled text of each box: that of the plain word."""
    boxes, positive, negative = text_boxes(model, 64), encode(applied, ANN_IN_SNOW), encode(applied, "lowres")
    boxed, plain = (
        nodes.GLIGENTextBoxApply().append(positive, one, boxes, text, 32, 32, 0, 0)[0]
        for one, text in ((applied, "a hat of <ann>"), (clip, "a hat of face"))
    )
    assert torch.equal(boxed[0][1]["gligen"][2][0][0], plain[0][1]["gligen"][2][0][0])
    usual, recorder = sample(model, positive, negative), Recorder(model)
    painted = sample(model, boxed, negative)
    assert torch.isfinite(painted).all() and not torch.allclose(painted, usual, atol=1e-2)
    names = [name for rows in names_of_rows(recorder.passes, persona=positive, negative=negative) for name in rows]
    assert sorted(names) == ["negative"] * 5 + ["persona"] * 5
