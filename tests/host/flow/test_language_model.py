"""Prompts of a language model as the text encoder: its tokens, its template, and long ones in portions."""

import copy

import pytest
from recording import encode

from persona_core.host.apply import portions
from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.apply.sampling import TABLE
from persona_core.host.tokenizer import PersonaToken
from persona_core.table import AppliedPersona


def applied(clip, persona, placeholder="<ann>", **how):
    return apply_to_clip(clip, AppliedPersona(persona, **how), placeholder)


@pytest.mark.parametrize(
    "text", ["\uf8ff apple", "a \ue000 b", "the user and the assistant", "a embedding:foo, bar", "{} {0}"]
)
def test_a_prompt_without_a_persona_is_tokenized_as_the_host_does(clip, persona, text):
    for placeholder in ("<ann>", "user", "assistant"):
        taught = applied(clip, persona, placeholder)
        assert placeholder in text or taught.tokenize(text) == clip.tokenize(text)
        copied = copy.deepcopy(taught.tokenizer).tokenize_with_weights(f"a {placeholder}")
        assert len(copied["qwen3_4b"][0]) == len(clip.tokenize("a face")["qwen3_4b"][0]) + 3


@pytest.mark.parametrize("text", ["embedding:<ann> x", "a embedding:foo<ann>", "a embedding:x,<ann>"])
def test_a_placeholder_beside_what_looks_like_a_files_name_is_found(clip, persona, text):
    tokens = applied(clip, persona).tokenize(text)["qwen3_4b"][0]
    assert sum(isinstance(token, PersonaToken) for token, _ in tokens) == 4
    assert [token for token, _ in tokens[-5:]] == [token for token, _ in clip.tokenize("x")["qwen3_4b"][0][-5:]]


def test_a_long_prompt_goes_through_the_language_model_in_portions(clip, persona, monkeypatch):
    monkeypatch.setattr(portions, "AT_ONCE", 1)
    taught, seen = applied(clip, persona), []
    layer = taught.cond_stage_model.qwen3_4b.transformer.model.layers[0]
    hook = layer.register_forward_pre_hook(lambda _, args, given: seen.append(given["x"].shape[:2]), with_kwargs=True)
    context, extra = encode(taught, "a photo of <ann> in a garden " + "with flowers " * 60)[0]
    hook.remove()
    rows = [rows for rows, _ in seen]
    assert max(rows * tokens for rows, tokens in seen) <= 77 * 768 // 64
    assert sum(rows) == 1 + 16 + 1  # the plain prompt, the stage's grid, and below it
    assert extra[TABLE].at(700)[1].shape[1] == context.shape[1] == max(tokens for _, tokens in seen)
