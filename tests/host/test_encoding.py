"""A placeholder in a prompt, encoded by the host's own paths."""

from dataclasses import replace

import pytest
import tiny_models
import torch
from recording import encode_one
from safetensors.torch import save_file

from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.apply.sampling import TABLE
from persona_core.host.clip import text_towers
from persona_core.persona import LAST_LAYER
from persona_core.table import PERSONA, AppliedPersona

LONG = ", ".join(f"a tree number {n}" for n in range(30))


def direct(clip, persona, t, prompt, weight=1.0):
    """Contexts of K and V computed from the mapper without the pack's host code: pairs, the host's encoder, formula.

    prompt: "before {} after". For one section.
    """
    tower, model = text_towers(clip).first, clip.cond_stage_model.clip_l
    vectors = persona.representation.at(torch.tensor([float(t)]))
    before, after = prompt.split("{}")
    ids = tower.tokenizer.tokenizer
    start = 1 + len(ids(before)["input_ids"][1:-1])
    pairs = [(49406, 1.0), *((i, 1.0) for i in ids(before)["input_ids"][1:-1])]
    pairs += [(v, weight) for v in vectors.keys[0]] + [(i, 1.0) for i in ids(after)["input_ids"][1:-1]] + [(49407, 1.0)]
    pairs += [(49407, 1.0)] * (77 - len(pairs))
    hidden = {}
    norm = tower.transformer.final_layer_norm
    handle = norm.register_forward_hook(lambda module, inputs, output: hidden.update(x=inputs[0].clone()))
    keys = model.encode_token_weights([pairs])[0]
    handle.remove()
    x = hidden["x"][:1]
    empty = norm(hidden["x"][-1:])[0]
    for n, bypass in enumerate(vectors.bypass[0]):
        h = x[0, start + n].clone()
        x[0, start + n] = (h + bypass) / (h + bypass).norm() * h.norm()
    values = norm(x)
    if weight != 1.0:
        for n in range(len(vectors.bypass[0])):
            at = start + n
            values[0, at] = (values[0, at] - empty[at]) * weight + empty[at]
    return keys, values


def close(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=3e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("a photo of <ann>", "a photo of face"),
        ("<ann> and <ann>, <ann>'s hat", "face and face, face's hat"),
        ("a (photo of <ann>:1.3) on (grass:0.7)", "a (photo of face:1.3) on (grass:0.7)"),
        ("a photo of(<ann>)in snow", "a photo of(face)in snow"),
    ],
)
def test_the_context_itself_is_the_supercategorys_prompt(clip, applied, text, plain):
    context, extra = encode_one(applied, text)
    expected, _ = encode_one(clip, plain)
    assert torch.equal(context, expected) and TABLE in extra
    assert torch.equal(extra["pooled_output"], encode_one(clip, plain)[1]["pooled_output"])


@pytest.mark.parametrize("text", ["", "a photo of a dog", "an (oil:1.2) painting, " + LONG, "ann < ann >"])
def test_text_without_the_placeholder_is_untouched(clip, applied, text):
    (ours, extra), (theirs, plain) = encode_one(applied, text), encode_one(clip, text)
    assert torch.equal(ours, theirs) and extra.keys() == plain.keys()


def test_the_plain_clip_is_untouched_by_its_patched_clone(clip, applied):
    before = encode_one(clip, "a photo of a face")[0]
    assert TABLE in encode_one(applied, "a photo of <ann>")[1]
    assert torch.equal(encode_one(clip, "a photo of a face")[0], before)
    assert TABLE not in encode_one(clip, "a photo of <ann>")[1]
    assert type(clip.cond_stage_model.encode_token_weights).__name__ == "method"


@pytest.mark.parametrize("t", [400, 480, 640, 800])
def test_the_table_equals_the_mapper_at_its_grid(clip, applied, ann, t):
    table = encode_one(applied, "a photo of <ann> in snow")[1][TABLE]
    close(table.at(t), direct(clip, ann, t, "a photo of {} in snow"))


def test_below_the_stage_stands_its_lowest_timestep_and_above_it_the_word(clip, applied, ann):
    table = encode_one(applied, "a photo of <ann> in snow")[1][TABLE]
    for t in (0, 200, 399):
        close(table.at(t), direct(clip, ann, 400, "a photo of {} in snow"))
    for t in (801, 999):
        assert table.at(t)[0] is table.base


def test_between_grid_points_the_error_is_small(clip, applied, ann):
    """The mapper is smooth in t: linear interpolation over 20 timesteps errs by less than 1 % of the persona's effect."""
    table = encode_one(applied, "a photo of <ann> in snow")[1][TABLE]
    for t in (410, 550, 707):
        for got, exact in zip(table.at(t), direct(clip, ann, t, "a photo of {} in snow"), strict=True):
            assert (got - exact).norm() < 0.01 * (exact - table.base).norm()


def test_prompt_weights_reach_the_personas_tokens(clip, applied, ann):
    table = encode_one(applied, "a photo of (<ann>:1.4) in snow")[1][TABLE]
    close(table.at(600), direct(clip, ann, 600, "a photo of {} in snow", weight=1.4))


def test_long_prompts_keep_every_section(clip, applied):
    for text in (f"<ann>, {LONG}", f"{LONG}, <ann>", f"<ann>, {LONG}, <ann>"):
        context, extra = encode_one(applied, text)
        keys, values = extra[TABLE].at(600)
        assert context.shape == keys.shape == values.shape and context.shape[1] >= 154
        changed = (keys != context).any(-1)[0].view(-1, 77).any(1)
        sections = applied.tokenize(text)["l"]
        here = [any(not isinstance(token, int) for token, _ in section) for section in sections]
        assert changed.tolist() == here


def test_beside_an_embedding_file(tmp_path, make_persona):
    save_file({"clip_l": 0.02 * torch.randn(2, 64).clone()}, tmp_path / "style.safetensors")
    clip = tiny_models.clip(embeddings=str(tmp_path))
    applied = apply_to_clip(clip, AppliedPersona(make_persona()), "<ann>")
    for text in ("<ann>, embedding:style", "embedding:style <ann> in snow", "(embedding:style:1.2) of (<ann>:0.9)"):
        context, extra = encode_one(applied, text)
        plain, _ = encode_one(clip, text.replace("<ann>", "face"))
        assert torch.equal(context, plain) and extra[TABLE].segments


def test_two_personas_each_keep_their_own_vectors(clip, make_persona):
    ann, bob = make_persona("ann"), make_persona("bob", seed=9, supercategory="person")
    both = apply_to_clip(apply_to_clip(clip, AppliedPersona(ann), "<ann>"), AppliedPersona(bob), "<bob>")
    context, extra = encode_one(both, "<ann> and <bob>")
    assert torch.equal(context, encode_one(clip, "face and person")[0])
    tokens = text_towers(clip).first.tokenizer.tokenizer("and")["input_ids"][1:-1]
    vectors = [p.representation.at(torch.tensor([600.0])).keys[0] for p in (ann, bob)]
    pairs = [49406, *vectors[0], *tokens, *vectors[1], 49407]
    keys = clip.cond_stage_model.clip_l.encode([pairs + [49407] * (77 - len(pairs))])[0]
    torch.testing.assert_close(extra[TABLE].at(600)[0], keys, atol=3e-5, rtol=1e-4)


def test_strength_zero_and_late_supercategory(clip, ann):
    off = apply_to_clip(clip, AppliedPersona(ann, strength=0.0), "<ann>")
    context, extra = encode_one(off, "a photo of <ann>")
    assert torch.equal(context, encode_one(clip, "a photo of face")[0])
    assert all(extra[TABLE].at(t)[0] is extra[TABLE].base for t in (0, 600, 999))
    late = encode_one(apply_to_clip(clip, AppliedPersona(ann, late="supercategory"), "<ann>"), "a photo of <ann>")[1][
        TABLE
    ]
    assert late.at(399)[0] is late.base and late.at(400)[0] is not late.base


def test_what_survives_cloning_and_skipping_layers(clip, applied):
    clone = applied.clone()
    assert TABLE in encode_one(clone, "a photo of <ann>")[1]
    clone.clip_layer(-2)
    skipped = clip.clone()
    skipped.clip_layer(-2)
    context, extra = encode_one(clone, "a photo of <ann>")
    assert torch.equal(context, encode_one(skipped, "a photo of face")[0])
    assert not torch.equal(extra[TABLE].at(600)[0], encode_one(applied, "a photo of <ann>")[1][TABLE].at(600)[0])


LAYERS = [(-1, None), (-1, -1), (-1, -2), (-2, -2), (-2, -1), (-2, 1)]


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize(
    ("family", "learned", "layer"),
    # Of SDXL, newer hosts take a layer that there is not for the family's own.
    [*(("sd1", *one) for one in LAYERS), *(("sdxl", *one) for one in LAYERS), ("sd1", -1, -9)],
)
def test_a_clip_that_stops_at_another_layer_than_the_personas_is_told(caplog, family, behind, learned, layer):
    """Also where CLIP Set Last Layer stands behind Apply. -9: there are not so many; 1: the second of three."""
    clip = tiny_models.clip(family)
    ann = replace(tiny_models.persona(clip), settings={LAST_LAYER: learned})
    before = replace(ann, settings={}), replace(ann, settings={LAST_LAYER: "-1"})  # files that say nothing of it
    if not behind and layer:
        clip.clip_layer(layer)
    knowing = apply_to_clip(clip, AppliedPersona(ann), "<ann>")
    for placeholder, one in zip(("<bob>", "<eve>"), before, strict=True):
        knowing = apply_to_clip(knowing, AppliedPersona(one), placeholder)
    if behind and layer:
        knowing.clip_layer(layer)
    assert not caplog.records
    encode_one(knowing, "<bob> and <eve>")
    encode_one(knowing, "<ann>, <ann>")
    at = {None: -2 if family == "sdxl" else -1, -9: -1, 1: -2}.get(layer, layer)
    told = f"learned with a CLIP that stops at layer {learned}; this one stops at {at}"
    assert [told in record.message for record in caplog.records] == [True] * (learned != at)


def test_a_persona_of_another_family_names_both(clip, ann):
    other = replace(ann, family="SD2.x (clip_h, 1024 wide)")
    with pytest.raises(ValueError, match=r"SD2\.x.*this CLIP is custom \(clip_l, 64 wide\)"):
        apply_to_clip(clip, AppliedPersona(other), "<ann>")


def test_what_a_file_says_is_quoted_escaped_and_short(clip, ann, caplog):
    said = "\u202eann " + "x" * 9000
    with pytest.raises(ValueError, match="was learned for") as found:
        apply_to_clip(clip, AppliedPersona(replace(ann, name=said, family=said)), "<ann>")
    known = replace(ann, name=said, settings={LAST_LAYER: -(10**3000)})
    encode_one(apply_to_clip(clip, AppliedPersona(known), "<ann>"), "<ann>")
    for sentence in (str(found.value), caplog.records[-1].message):
        assert "ann x" in sentence and sentence.isprintable() and len(sentence) < 800, sentence


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_context_preservation_takes_all_other_words_back_to_the_plain_prompt(clip, ann, share):
    """The plain prompt: the word at each of the persona's four tokens, so that the others keep their places."""
    text = "a photo of <ann> in (deep:1.3) snow, " + LONG + ", <ann>"
    (free, kept) = (
        encode_one(apply_to_clip(clip, AppliedPersona(ann, context_preservation=value), "<ann>"), text)[1][TABLE]
        for value in (0.0, share)
    )
    plain = encode_one(clip, text.replace("<ann>", "face face face face"))[0]
    ids = [
        token for section in clip.tokenize(text.replace("<ann>", "face face face face"))["l"] for token, _ in section
    ]
    face = clip.tokenize("face")["l"][0][1][0]
    mine = torch.tensor([token == face for token in ids])
    assert mine.sum() == 8 and plain.shape[1] == len(ids) == free.base.shape[1] > 77
    for t in (600, 100):
        for before, after in zip(free.at(t), kept.at(t), strict=True):
            assert torch.equal(after[:, mine], before[:, mine])
            others = before[:, ~mine] + share * (plain[:, ~mine] - before[:, ~mine])
            torch.testing.assert_close(after[:, ~mine], others, atol=3e-5, rtol=1e-4)
            assert not torch.allclose(before[:, ~mine], plain[:, ~mine], atol=1e-3)


def test_of_several_personas_the_one_that_asks_for_most_decides(clip, make_persona):
    def table(*shares):
        both = clip
        for number, share in enumerate(shares):
            use = AppliedPersona(make_persona(str(number), seed=number), context_preservation=share)
            both = apply_to_clip(both, use, f"<p{number}>")
        return encode_one(both, "<p0> and <p1> in snow")[1][TABLE].at(600)[0]

    assert torch.equal(table(0.5, 0.0), table(0.5, 0.25)) and not torch.equal(table(0.5, 0.0), table(0.0, 0.25))


def test_a_persona_that_does_not_stand_preserves_nothing(clip, make_persona):
    def table(**first):
        one, other = AppliedPersona(make_persona("a"), **first), AppliedPersona(make_persona("b", seed=1))
        both = apply_to_clip(apply_to_clip(clip, one, "<a>"), other, "<b>")
        return encode_one(both, "<a> and <b> in snow")[1][TABLE]

    off = {"end_at": 0.1, "early": PERSONA}  # above 900 only
    kept, free = (table(context_preservation=share, **off) for share in (1.0, 0.0))
    assert all(torch.equal(one, other) for one, other in zip(kept.at(600), free.at(600), strict=True))
    assert not torch.equal(kept.at(950)[0], free.at(950)[0])


def test_strength_zero_cuts_long_prompts_where_the_plain_one_is_cut(clip, ann):
    none = apply_to_clip(clip, AppliedPersona(ann, 0.0), "<ann>")
    text = f"a photo of <ann>, {LONG}, <ann>"
    assert torch.equal(encode_one(none, text)[0], encode_one(clip, text.replace("<ann>", "face"))[0])


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"strength": -1.0}, "strength is -1. Give a number from 0 to 2"),
        ({"key_locking": 2.0}, "key_locking is 2. Give a number from 0 to 1"),
        ({"start_at": 0.8, "end_at": 0.2}, "start_at is 0.8 and end_at is 0.2"),
    ],
    ids=str,
)
def test_numbers_out_of_range_are_a_sentence(ann, setting, says):
    """The host checks what is typed, and not what comes over a link."""
    with pytest.raises(ValueError, match=says):
        AppliedPersona(ann, **setting)


@pytest.mark.parametrize(("key_locking", "times"), [(0.0, 1), (0.5, 2)])
def test_tokens_that_k_and_v_share_go_through_the_layers_once(clip, ann, key_locking, times):
    applied = apply_to_clip(clip, AppliedPersona(ann, key_locking=key_locking), "<ann>")
    rows = []
    layer = clip.cond_stage_model.clip_l.transformer.text_model.encoder.layers[0]
    handle = layer.register_forward_pre_hook(lambda module, inputs: rows.append(len(inputs[0])))
    _, extra = encode_one(applied, "a photo of <ann>")
    handle.remove()
    distinct = len(torch.cat(extra[TABLE].keys).unique(dim=0))  # the stage's end comes twice
    assert rows == [1, times * distinct] and distinct == 21
