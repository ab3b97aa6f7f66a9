"""What torch and other nodes make of a context: what keeps its table, and what is told as lost."""

import copy

import pytest
import tiny_models
import torch
from contexts import ANN, BOB, PLAIN
from recording import encode, sample

import nodes
from persona_core.host.apply.context import PersonaContext, PersonaNotFollowed
from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.apply.sampling import TABLE, apply_to_model
from persona_core.table import AppliedPersona


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
