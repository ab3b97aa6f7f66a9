"""What the host's conditioning nodes make of prompts with personas, in the host's own sampler."""

from functools import cache

import pytest
import torch
from contexts import ANN, BOB, PLAIN
from recording import Recorder, encode, sample

import nodes
from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.apply.sampling import TABLE, apply_to_model
from persona_core.table import AppliedPersona


def rows_of(passes, cond):
    """Of each pass t, and K's and V's rows of every layer for the only conditioning of that kind."""
    for one in passes:
        row = one["rows"].index(cond)
        for keys, values in zip(one["k"], one["v"], strict=True):
            yield one["t"], keys[row], values[row]


def contexts_of(*prompts):
    """For each prompt: a function t -> its contexts of K and V."""
    found = []
    for [[context, extra]] in prompts:
        found.append(extra[TABLE].at if TABLE in extra else lambda t, context=context: (context, context))
    return found


def check(model, positive, negative, expected):
    """Sample, and compare every layer's K and V with expected(t)."""
    recorder, expected = Recorder(model), cache(expected)
    sample(model, positive, negative, steps=9)  # at least one in every stage of every persona
    for t, *given in rows_of(recorder.passes, 0):
        for one, other in zip(given, expected(t), strict=True):
            torch.testing.assert_close(one, other[0])
    for _, keys, values in rows_of(recorder.passes, 1):
        length = negative[0][0].shape[1]
        assert torch.equal(keys[:length], negative[0][0][0]) and torch.equal(values[:length], negative[0][0][0])


@pytest.mark.parametrize(("to", "more"), [(ANN, PLAIN), (PLAIN, BOB), (ANN, BOB)])
def test_concatenated_prompts_both_follow_their_tables(routed, encoded, to, more):
    joined = nodes.ConditioningConcat().concat(encoded(to), encoded(more))[0]

    parts = contexts_of(encoded(to), encoded(more))

    def expected(t):
        return [torch.cat(side, 1) for side in zip(*(part(t) for part in parts), strict=True)]

    check(routed, joined, encoded("lowres"), expected)


@pytest.mark.parametrize(("to", "more"), [(ANN, PLAIN), (PLAIN, BOB), (ANN, BOB), (ANN, ", ".join([BOB] * 20))])
@pytest.mark.parametrize("share", [0.0, 0.3])
def test_averaged_prompts_follow_the_average_of_their_tables(routed, encoded, to, more, share):
    mixed = nodes.ConditioningAverage().addWeighted(encoded(to), encoded(more), share)[0]

    of_to, of_more = contexts_of(encoded(to), encoded(more))

    def expected(t):
        sides = zip(of_to(t), of_more(t), strict=True)
        return [share * one + (1 - share) * other[:, : one.shape[1]] for one, other in sides]

    check(routed, mixed, encoded("lowres"), expected)


def test_what_was_joined_can_be_joined_and_averaged_again(routed, encoded):
    joined = nodes.ConditioningConcat().concat(encoded(ANN), encoded(BOB))[0]
    mixed = nodes.ConditioningAverage().addWeighted(joined, encoded(BOB), 0.25)[0]

    of_ann, of_bob = contexts_of(encoded(ANN), encoded(BOB))

    def expected(t):
        ann, bob = of_ann(t), of_bob(t)
        padded = [torch.cat([one, torch.zeros_like(one)], 1) for one in bob]
        return [0.25 * torch.cat([a, b], 1) + 0.75 * p for a, b, p in zip(ann, bob, padded, strict=True)]

    check(routed, mixed, encoded("lowres"), expected)


def test_a_zeroed_prompt_is_empty_and_says_nothing(routed, encoded, caplog):
    zeroed = nodes.ConditioningZeroOut().zero_out(encoded(ANN))[0]
    recorder = Recorder(routed)
    sample(routed, encoded(ANN + BOB), zeroed)
    assert all(not keys.any() and not values.any() for _, keys, values in rows_of(recorder.passes, 1))
    assert not caplog.records


def test_a_range_of_timesteps_keeps_the_table(routed, encoded):
    early, late = (
        nodes.ConditioningSetTimestepRange().set_range(encoded(text), *span)[0]
        for text, span in ((ANN, (0.0, 0.5)), (BOB, (0.5, 1.0)))
    )
    combined = nodes.ConditioningCombine().combine(early, late)[0]
    sampling, recorder = routed.get_model_object("model_sampling"), Recorder(routed)
    sample(routed, combined, encoded("lowres"), steps=12)
    middle = float(sampling.timestep(torch.tensor(sampling.percent_to_sigma(0.5))))
    contexts, texts = dict(zip((ANN, BOB), contexts_of(encoded(ANN), encoded(BOB)), strict=True)), set()
    for t, keys, values in rows_of([one for one in recorder.passes if one["rows"].count(0) == 1], 0):
        text = ANN if t > middle else BOB
        texts.add(text)
        for one, other in zip((keys, values), contexts[text](t), strict=True):
            torch.testing.assert_close(one, other[0])
    assert texts == {ANN, BOB}


@pytest.mark.parametrize("where", ["area", "percent", "mask", "mask bounds"])
def test_each_region_gets_its_own_persona_and_the_negative_none(model, encoded, where):
    left, right = torch.zeros(2, 1, 64, 64)
    left[..., :32] = right[..., 32:] = 1
    regions = []
    for text, x, mask in ((ANN, 0.0, left), (BOB, 0.5, right)):
        if where == "area":
            made = nodes.ConditioningSetArea().append(encoded(text), 64, 64, 0 if x == 0 else 64, 0, 1.0)
        elif where == "percent":
            made = nodes.ConditioningSetAreaPercentage().append(encoded(text), 0.5, 1.0, x, 0.0, 1.0)
        else:
            bounds = "mask bounds" if where == "mask bounds" else "default"
            made = nodes.ConditioningSetMask().append(encoded(text), mask, bounds, 1.0)
        regions.append(made[0])
    positive, negative = nodes.ConditioningCombine().combine(*regions)[0], encoded("lowres")
    recorder = Recorder(model)
    sample(model, positive, negative, steps=8, size=16)
    tables, seen = contexts_of(encoded(ANN), encoded(BOB)), set()
    for one in recorder.passes:
        batch = len(one["k"][0]) // len(one["rows"])
        for index, cond in enumerate(one["rows"]):
            for keys, values in zip(one["k"], one["v"], strict=True):
                rows = [side[index * batch] for side in (keys, values)]
                if cond == 1:
                    assert all(torch.equal(row, negative[0][0][0]) for row in rows)
                    continue
                fits = [
                    number
                    for number, of_table in enumerate(tables)
                    if all(torch.equal(row, side[0]) for row, side in zip(rows, of_table(one["t"]), strict=True))
                ]
                assert fits
                seen.update(fits)
    assert seen == {0, 1}


def test_three_personas_in_one_prompt(model, both, make_persona):
    three = apply_to_clip(both, AppliedPersona(make_persona("cyd", 100, 950, seed=2), strength=0.5), "<cyd>")
    routed, text = apply_to_model(model, "<cyd>"), "<ann> and <bob> and <cyd>"
    positive = encode(three, text)
    assert positive[0][1][TABLE].placeholders == {"<ann>", "<bob>", "<cyd>"}
    check(routed, positive, encode(three, "lowres"), positive[0][1][TABLE].at)
    alone = [encode(three, text.replace(f"<{one}>", "face"))[0][1][TABLE] for one in ("ann", "bob", "cyd")]
    assert all(not torch.equal(positive[0][1][TABLE].at(500)[1], one.at(500)[1]) for one in alone)


def test_an_area_beside_a_persona_in_the_negative_prompt(model, encoded):
    """The host copies an area's conditioning into the negative list, with the negative prompt's context."""
    area = nodes.ConditioningSetAreaPercentage().append(encoded(ANN), 0.5, 1.0, 0.0, 0.0, 1.0)[0]
    recorder, of_bob = Recorder(model), contexts_of(encoded(BOB))[0]
    sample(model, nodes.ConditioningCombine().combine(area, encoded(PLAIN))[0], encoded(BOB), steps=6, size=16)
    seen = 0
    for one in recorder.passes:
        for index, cond in enumerate(one["rows"]):
            if cond == 1:
                for given, expected in zip((one["k"][0], one["v"][0]), of_bob(one["t"]), strict=True):
                    assert torch.equal(given[index], expected[0])
                seen += one["size"] == (16, 8)
    assert seen
