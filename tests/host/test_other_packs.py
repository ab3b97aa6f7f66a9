"""Prompts that other packs read, weigh and put into the layers in ways of their own."""

from types import SimpleNamespace

import pytest
import tiny_models
import torch
from comfy.hooks import HookGroup, TransformerOptionsHook, set_hooks_for_conditioning
from comfy_execution.utils import CurrentNodeContext
from neighbours import names_of_rows
from other_packs import coupled, in_masked_style, reading_prompts_itself, weighed_by_masking
from recording import Recorder, encode, sample

from persona_core.host import messages
from persona_core.host.apply.context import PersonaNotFollowed
from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.apply.sampling import TABLE, apply_to_model
from persona_core.host.clip import text_towers
from persona_core.table import AppliedPersona


@pytest.fixture(params=["sd1", "sdxl"])
def family(request):
    return request.param


@pytest.fixture
def model(family):
    return tiny_models.model(sdxl=family == "sdxl")


@pytest.fixture
def plain(family):
    return tiny_models.clip(family)


@pytest.fixture
def both(plain):
    """A CLIP that knows <ann> and <bob>."""
    ann, bob = tiny_models.persona(plain), tiny_models.persona(plain, "bob", 300, 600, seed=1)
    return apply_to_clip(apply_to_clip(plain, AppliedPersona(ann), "<ann>"), AppliedPersona(bob), "<bob>")


@pytest.fixture
def routed(model):
    return apply_to_model(apply_to_model(model, "<ann>"), "<bob>")


def warnings_in(caplog) -> list[str]:
    return [record.message for record in caplog.records if record.name == "persona"]


def test_a_tokenizer_of_another_pack_that_looks_for_files_finds_the_persona(both, caplog):
    text = "a photo of <ann> and <bob> in snow"
    usual = encode(both, text)[0]
    with reading_prompts_itself(both, finds_files=True):
        context, extra = encode(both, text)[0]
    assert torch.equal(context, usual[0]) and not warnings_in(caplog)
    for t in (200, 500, 900):
        for one, other in zip(extra[TABLE].at(t), usual[1][TABLE].at(t), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("given", [str, lambda text: [text]], ids=["text", "several texts"])
def test_a_tokenizer_of_another_pack_that_looks_for_none_is_told_and_gives_the_word(both, plain, caplog, given):
    with reading_prompts_itself(both, finds_files=False):
        context, extra = encode(both, given("a photo of <ann>, <bob>'s friend"))[0]
    assert torch.equal(context, encode(plain, "a photo of face, face's friend")[0][0]) and TABLE not in extra
    (told,) = warnings_in(caplog)
    assert "<ann> and <bob> is no persona: there, the common word stands" in told
    with reading_prompts_itself(both, finds_files=False):
        encode(both, "a photo of planned annexes")
    assert len(warnings_in(caplog)) == 1


def test_a_placeholder_that_comes_to_the_encoder_as_text_is_told(both, plain, caplog):
    """From nodes that ask the vocabulary themselves."""
    tokens = plain.tokenize("a photo of <ann>, old")
    both.encode_from_tokens(tokens)
    numbers = {key: [[[token for token, _ in section]] for section in tokens[key]] for key in tokens}
    assert len(warnings_in(caplog)) == 1 and "<ann> is no persona" in warnings_in(caplog)[0]
    whole = both.patcher.get_model_object("encode_token_weights")
    whole.original = lambda pairs: None
    whole(numbers)
    assert len(warnings_in(caplog)) == 2
    whole(plain.tokenize("ann > an < ann"))
    assert len(warnings_in(caplog)) == 2


PROMPTS = ["a photo of (<ann>:1.3) in snow", "a <ann> in (snow:0.6), <bob>", "(<ann>:0.7) and (<bob>:1.2) at (sea:1.4)"]


@pytest.mark.parametrize("text", PROMPTS)
def test_a_style_that_encodes_variants_of_the_prompt_gives_the_same_inside_and_behind_the_encoder(both, family, text):
    """Inside, each row goes through it alone; behind, what it computes is followed. Bypass and V are in both."""
    inside = encode(in_masked_style(both), text)[0][1][TABLE]
    if family == "sdxl":  # of two encoders the whole is called once
        assert any(not torch.equal(*inside.at(t)) for t in (500, 600))
        return
    behind = weighed_by_masking(both.tokenize(text)["l"], lambda these: both.encode_from_tokens({"l": these})).table
    for t in (300, 400, 540):  # where both stand: a word is shorter, and a weight behind the encoder knows but places
        for one, other in zip(inside.at(t), behind.at(t), strict=True):
            torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)
    assert not torch.equal(*inside.at(540))


def test_prompts_that_a_pack_puts_into_the_layers_follow(model, routed, both, caplog):
    recorder = Recorder(model)
    ann, bob, negative = (encode(both, text) for text in ("a photo of <ann>", "a <bob>", "lowres"))
    wood, bobs = encode(both, "a wood"), encode(both, "<bob> in a wood")
    for base, name in ((wood, "wood"), (bobs, "bobs")):
        recorder.passes.clear()
        sample(routed, coupled(base, ann, bob), negative, batch=2)
        rows = names_of_rows(recorder.passes, wood=wood, bobs=bobs, ann=ann, bob=bob, negative=negative)
        assert {tuple(one) for one in rows} == {(name,) * 2 + ("ann",) * 2 + ("bob",) * 2, ("negative",) * 2}
    assert not warnings_in(caplog)


def test_a_prompt_that_a_pack_puts_into_the_layers_is_told_what_to_do(model, routed, both):
    """A plain MODEL is to be routed; one that is cannot be told so."""
    ann, wood, negative = (encode(both, text) for text in ("a photo of <ann>", "a wood", "lowres"))
    with pytest.raises(PersonaNotFollowed, match="Give the sampler the MODEL that comes out of Apply"):
        sample(model, coupled(wood, ann), negative)
    late = routed.clone()
    late.set_model_attn2_patch(lambda q, k, v, extra: (q, ann[0][0].repeat(len(k), 1, 1), v))
    with pytest.raises(PersonaNotFollowed, match="puts the conditioning into the model's layers .* leave it out"):
        sample(late, wood, negative)


def test_a_persona_that_only_a_hook_could_bring_and_did_not_is_missed(routed, both, caplog):
    sample(routed, coupled(encode(both, "a wood"), encode(both, "a <bob>")), encode(both, "lowres"))
    assert len(warnings_in(caplog)) == 1 and "holds <ann>: it paints without that persona" in warnings_in(caplog)[0]


def test_another_packs_hook_costs_no_pass_more_than_without_a_persona(model, both):
    """Positive and negative share a batch where the other hooks are the same."""
    recorder, group = Recorder(model), HookGroup()
    group.add(TransformerOptionsHook({}))
    passes = []
    for text in ("a photo of <ann>", "a photo of face"):
        conds = [set_hooks_for_conditioning(encode(both, one), group) for one in (text, "lowres")]
        sample(model, *conds)
        passes.append([one["rows"] for one in recorder.passes])
        recorder.passes.clear()
    assert passes[0] == passes[1] and len(passes[0]) == 5


def test_pooled_text_that_a_pack_took_from_a_context_comes_plain(family, model, routed, both, caplog):
    if family == "sd1":
        return  # which takes none
    kinds, layer = set(), model.model.diffusion_model.label_emb
    layer.register_forward_pre_hook(lambda module, given: kinds.add(type(given[0])))
    (context, extra), negative = encode(both, "a photo of <ann> and <bob>")[0], encode(both, "lowres")
    pooled = context[:, 5, : extra["pooled_output"].shape[-1]]
    sample(routed, [[context, {**extra, "pooled_output": pooled}]], negative)
    assert kinds == {torch.Tensor} and not warnings_in(caplog)


def test_what_is_said_of_every_tile_is_said_once(routed, both, caplog, monkeypatch):
    sent = []
    server = SimpleNamespace(client_id="artist", send_sync=lambda *event: sent.append(event))
    monkeypatch.setattr(
        messages, "server_module", lambda: SimpleNamespace(PromptServer=SimpleNamespace(instance=server))
    )
    conds = encode(both, "a photo of <ann>"), encode(both, "lowres")
    for prompt, tiles in (("first", 3), ("second", 2)):
        with CurrentNodeContext(prompt, "12"):
            for _ in range(tiles):
                sample(routed, *conds, steps=1)
    assert len(warnings_in(caplog)) == len(sent) == 2 and "<bob>" in sent[0][1]["text"]


def test_stand_ins_look_like_what_they_stand_for(both):
    """Packs write the names of methods into their logs."""
    method = both.patcher.get_model_object("encode_token_weights")
    own = type(both.cond_stage_model).encode_token_weights
    assert (method.__name__, method.__qualname__) == (own.__name__, own.__qualname__)
    for tower in text_towers(both).towers:
        assert (
            both.patcher.get_model_object(f"{tower.name}.transformer.text_model.encoder.forward").__name__ == "forward"
        )
