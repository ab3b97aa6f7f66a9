"""What the host's conditioning nodes make of prompts with personas, in the host's own sampler."""

import copy
from functools import cache

import pytest
import tiny_models
import torch
from recording import Recorder, encode, sample

import nodes
from persona_core.host.apply.context import PersonaContext, PersonaNotFollowed
from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.apply.sampling import TABLE, apply_to_model
from persona_core.table import AppliedPersona


@pytest.fixture(scope="module", params=["sd1", "sdxl"])
def family(request):
    return request.param


@pytest.fixture
def model(family):
    return tiny_models.model(sdxl=family == "sdxl")


@pytest.fixture(scope="module")
def clip(family):
    """One for all: nothing here may leave a trace in it."""
    with torch.inference_mode():
        return tiny_models.clip(family)


@pytest.fixture(scope="module")
def both(clip):
    """A CLIP that knows <ann>, and <bob> in other stages."""
    ann, bob = tiny_models.persona(clip), tiny_models.persona(clip, "bob", 300, 600, seed=1)
    return apply_to_clip(apply_to_clip(clip, AppliedPersona(ann), "<ann>"), AppliedPersona(bob), "<bob>")


@pytest.fixture(scope="module")
def encoded(both):
    """A prompt as `both` encodes it; each is encoded once, and neither the host's nodes nor sampling change it."""
    return cache(lambda text: encode(both, text))


@pytest.fixture
def routed(model):
    return apply_to_model(apply_to_model(model, "<ann>"), "<bob>")


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


ANN, BOB, PLAIN = "a photo of <ann>", "<bob> in snow", "a green bicycle"


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


def in_place(context):
    changed = context.clone()
    changed[:, 5:9] *= 1.5
    return changed


def into_an_empty_one(context):
    twice = torch.empty_like(context).repeat(1, 2, 1)
    twice[:, 0::2], twice[:, 1::2] = context, -context
    return twice


def a_loop(context):
    """Whose weights are another's the next time."""
    weight, mixed = torch.ones(1, context.shape[1], 1), torch.zeros_like(context)
    for number in range(3):
        weight[:, number] = 2.0 + number
        mixed += context * weight
    return mixed / mixed.std()


@pytest.mark.parametrize(
    "change",
    [
        lambda context: context.sin().half(),
        in_place,
        lambda context: context.detach().mul_(0.5),
        lambda context: (torch.stack([context, 0.3 * context.flip(1)]) * 2).sum(0).reshape(-1).reshape(context.shape),
        lambda context: context / context.norm(dim=-1, keepdim=True) - context.mean(),
        lambda context: torch.cat([part + number for number, part in enumerate(context.chunk(7, 1))], 1),
        lambda context: torch.stack([row * row for row in context]),
        lambda context: torch.linalg.norm(context) * torch.nn.functional.layer_norm(context, context.shape[-1:]),
        lambda context: torch.std_mean(context, -1, keepdim=True)[0] * context,
        lambda context: context + 0.1 * torch.randn_like(context, dtype=context.dtype),
        into_an_empty_one,
        a_loop,
    ],
    ids=[
        "another precision",
        "a part in place",
        "all in place",
        "stacked and summed",
        "normed",
        "in chunks",
        "row by row",
        "layer norm",
        "by its deviation",
        "with noise",
        "into an empty one",
        "a loop",
    ],
)
def test_whatever_torch_computes_with_a_context_follows_at_every_t(both, encoded, caplog, change):
    context, extra = encode(both, ANN)[0]  # of its own, to be changed in place
    base = context.clone().as_subclass(torch.Tensor)
    torch.manual_seed(0)
    changed = change(context)
    assert isinstance(changed, PersonaContext) and not changed.table.constant
    for t in (350.0, 601.5, 900.0):
        for made, side in zip(changed.table.at(t), extra[TABLE].at(t), strict=True):
            torch.manual_seed(0)  # noise is drawn once
            torch.testing.assert_close(made.as_subclass(torch.Tensor), change(side.clone()), atol=1e-6, rtol=1e-5)
    assert torch.equal(extra[TABLE].base, base) and extra[TABLE].placeholders == changed.table.placeholders


def through_a_part(context):
    for part in context[0].unbind(0):
        part.mul_(1.5)
    return context


@pytest.mark.parametrize(
    "change",
    [lambda context: torch.from_numpy(context.numpy() + 1.0), through_a_part],
    ids=["numpy", "in place, through a part of it"],
)
@pytest.mark.parametrize("through_apply", [True, False])
def test_a_persona_that_a_node_loses_is_told(model, both, encoded, caplog, change, through_apply):
    context, extra = encode(both, ANN)[0]
    base = context.clone()
    used = apply_to_model(model, "<ann>") if through_apply else model
    sample(used, [[change(context), extra]], encoded("lowres"))
    assert [record.message.split(" in a way")[0] for record in caplog.records] == [
        "A node between text encoder and sampler changed a conditioning with <ann>"
    ]
    assert torch.equal(extra[TABLE].base, base)


def test_a_persona_is_told_as_lost_without_its_dict_too(routed, both, encoded, caplog):
    context, extra = encode(both, ANN)[0]
    bare = {"pooled_output": extra["pooled_output"]}
    sample(routed, [[through_a_part(context), bare]], encoded(BOB))
    assert [record.message.split(" in a way")[0] for record in caplog.records] == [
        "A node between text encoder and sampler changed a conditioning with <ann>"
    ]


def test_numbers_that_leave_torch_tell_personas_apart(both, encoded):
    """A sampler of another pack keeps its picture while they are the same."""
    texts = "a photo of face", "a photo of <ann>", "a photo of <bob>", "a photo of <ann>"
    plain, ann, bob, again = (encode(both, text)[0][0].cpu().numpy() for text in texts)
    assert (ann == again).all() and not (ann == bob).all() and not (ann == plain).all()
    assert abs(ann - plain).max() <= 1e-6 * abs(plain).max()


def test_a_plain_tensor_of_the_same_numbers_keeps_its_table(routed, encoded, caplog):
    context, extra = encoded(ANN)[0]
    same = [[torch.from_numpy(context.numpy()), extra]]
    painted = sample(routed, same, encoded(BOB))
    assert not caplog.records and torch.equal(painted, sample(routed, encoded(ANN), encoded(BOB)))


def test_copies_keep_their_table(routed, encoded):
    positive, negative = encoded(ANN + BOB), encoded("lowres")
    painted = sample(routed, positive, negative)
    for copied in (copy.deepcopy(positive), [[positive[0][0].clone(), positive[0][1]]]):
        assert isinstance(copied[0][0], PersonaContext)
        torch.testing.assert_close(sample(routed, copied, negative), painted, atol=1e-3, rtol=1e-3)


def test_the_unet_is_never_given_the_packs_own_tensor(routed, encoded):
    """torch.compile and others' patches take plain tensors."""
    kinds = set()
    patched = routed.clone()
    patched.set_model_attn2_patch(lambda n, k, v, extra: (kinds.update((type(k), type(v))), (n, k, v))[1])
    sample(patched, encoded(ANN + BOB), encoded("lowres"), steps=8)
    assert kinds == {torch.Tensor}


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_persona_that_nothing_follows_is_an_error(family, both, caplog, batch, dtype):
    """The joined conditioning has the plain one's dict, so only the MODEL of Apply could follow the other's table."""
    model = tiny_models.model(sdxl=family == "sdxl", dtype=dtype)
    joined = nodes.ConditioningConcat().concat(encode(both, PLAIN), encode(both, BOB))[0]
    with pytest.raises(PersonaNotFollowed, match="^Nothing follows the persona <bob> in this conditioning"):
        sample(model, joined, encode(both, "lowres"), batch=batch)
    sample(apply_to_model(model, "<bob>"), joined, encode(both, "lowres"))
    sample(model, encode(both, ANN), encode(both, BOB))
    assert not caplog.records


def test_at_strength_0_there_is_nothing_to_follow(model, clip, ann):
    taught = apply_to_clip(clip, AppliedPersona(ann, strength=0.0), "<ann>", hooked=False)
    positive, negative = encode(taught, "a <ann> in snow"), encode(taught, "lowres")
    plain = sample(model, encode(clip, "a face in snow"), encode(clip, "lowres"))
    assert isinstance(positive[0][0], PersonaContext) and torch.equal(sample(model, positive, negative), plain)
    with pytest.raises(PersonaNotFollowed):
        sample(model, encode(apply_to_clip(clip, AppliedPersona(ann), "<ann>", hooked=False), "a <ann>"), negative)


def test_a_node_may_keep_a_copy_of_a_context(encoded):
    context = encoded(ANN)[0][0]
    buffer = torch.zeros(context.shape).copy_(context)
    assert type(buffer) is torch.Tensor and torch.equal(buffer, context.table.base)
    with pytest.raises(PersonaNotFollowed):
        torch.zeros(context.shape, dtype=torch.float16).copy_(context)


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
