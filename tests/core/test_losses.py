"""Loss terms against plain loops."""

import math
from functools import partial
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from persona_core.attention import attention_maps
from persona_core.losses import (
    ALL,
    PLACEHOLDER,
    PROMPT,
    SUM,
    ContextRegularization,
    FaceWiseAttention,
    TandemEquilibrium,
    brought_to,
    masked_diffusion_loss,
    persona_share,
)
from persona_core.task import CrossAttention, RichContexts, RichPrompts


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_masked_noise_loss_against_a_loop():
    step = SimpleNamespace(
        prediction=random(2, 3, 4, 5), target=random(2, 3, 4, 5, seed=1), mask=random(2, 1, 4, 5, seed=2).sigmoid()
    )
    rows = []
    for b in range(2):
        error = weight = 0.0
        for c in range(3):
            for y in range(4):
                for x in range(5):
                    m = float(step.mask[b, 0, y, x])
                    error += m * float(step.target[b, c, y, x] - step.prediction[b, c, y, x]) ** 2
                    weight += m
        rows.append(error / weight)
    assert float(masked_diffusion_loss(step)) == pytest.approx(sum(rows) / 2, rel=1e-5)


def test_what_lies_outside_the_mask_does_not_count():
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2] = 1
    prediction = random(1, 2, 4, 4).requires_grad_()
    masked_diffusion_loss(SimpleNamespace(prediction=prediction, target=torch.zeros(1, 2, 4, 4), mask=mask)).backward()
    assert prediction.grad[..., :2].all() and not prediction.grad[..., 2:].any()


def loop_share(attention, persona, words):
    """Method section 1.4, word by word, for one row."""
    heads, length, _ = attention.shape
    total = [sum(float(attention[h, q, k]) for h in range(heads) for q in range(length)) for k in range(length)]
    s = max((k for k in range(length) if persona[k]), key=lambda k: total[k])
    r = max((k for k in range(length) if words[k]), key=lambda k: total[k])
    shares = []
    for h in range(heads):
        for q in range(length):
            a, b = math.exp(100 * float(attention[h, q, s])), math.exp(100 * float(attention[h, q, r]))
            shares.append(a / (a + b))
    return sum(shares) / len(shares)


@pytest.fixture
def attention():
    causal = torch.full((9, 9), -torch.inf).triu(1)
    return (2 * random(3, 2, 9, 9) + causal).softmax(-1)


@pytest.fixture
def where():
    persona, words = torch.zeros(3, 9, dtype=torch.bool), torch.zeros(3, 9, dtype=torch.bool)
    persona[:, 3:5] = True
    words[:, 1:3] = words[:, 5:7] = True
    return persona, words


def test_persona_share_against_a_loop(attention, where):
    expected = [loop_share(a, p, w) for a, p, w in zip(attention, *where, strict=True)]
    torch.testing.assert_close(persona_share(attention, *where), torch.tensor(expected))


@pytest.mark.parametrize("own_values", [False, True])
def test_tandem_equilibrium_is_minus_weight_times_the_product(attention, where, own_values):
    texts = [attention, attention.flip(1, 2).softmax(-1)] if own_values else [attention]
    step = SimpleNamespace(encoding=SimpleNamespace(rich=RichPrompts(*where, texts)))
    shares = [loop_share(a, p, w) for maps in texts for a, p, w in zip(maps, *where, strict=True)]
    expected = sum(-0.001 * share * (1 - share) for share in shares) / len(shares)
    assert float(TandemEquilibrium(0.001)(step)) == pytest.approx(expected, rel=1e-5)


def test_equilibrium_is_least_when_persona_and_words_are_level(where):
    level = torch.full((3, 2, 9, 9), 1 / 9)
    tilted = level.clone()
    tilted[..., 3] += 0.1
    assert (persona_share(level, *where) == 0.5).all()
    share = persona_share(tilted, *where)
    assert (share > 0.9).all() and (share * (1 - share) < 0.25).all()


def test_a_prompt_of_nothing_but_the_persona_is_level(attention, where):
    assert (persona_share(attention, where[0], torch.zeros_like(where[1])) == 0.5).all()


def loop_difference(layer, chosen):
    """Beyond Inserting, Algorithm 1, word by word; the maps have the size they are compared at."""
    rows, places, width = layer.queries.shape
    depth, total, count = width // layer.heads, 0.0, 0
    for b in range(rows):
        for h in range(layer.heads):
            part = slice(h * depth, (h + 1) * depth)
            for place in range(places):
                query = layer.queries[b, place, part]
                maps = []
                for keys in (layer.keys, layer.reference):
                    scores = [math.exp(float(query @ key) / math.sqrt(depth)) for key in keys[b, :, part]]
                    maps.append([score / sum(scores) for score in scores])
                for token, compared in enumerate(chosen[b]):
                    if compared:
                        total += (maps[0][token] - maps[1][token]) ** 2
                        count += 1
    return total / count


@pytest.fixture
def watched():
    """A step with two layers of 4 x 6 and 6 tokens: start, word, persona, word, end, padding."""
    layers = [
        CrossAttention(
            random(2, 24, 8, seed=s), random(2, 6, 8, seed=s + 1), random(2, 6, 8, seed=s + 2), 2, (4, 6), (8, 12)
        )
        for s in (1, 5)
    ]
    persona = torch.tensor([[0, 0, 1, 0, 0, 0]] * 2).bool()
    words = torch.tensor([[0, 1, 0, 1, 0, 0]] * 2).bool()
    encoding = SimpleNamespace(persona=persona, words=words, keys=random(2, 6, 3))
    return SimpleNamespace(attentions=layers, encoding=encoding)


@pytest.mark.parametrize(
    ("tokens", "chosen"), [(ALL, [1] * 6), (PROMPT, [1, 1, 1, 1, 1, 0]), (PLACEHOLDER, [0, 0, 1, 0, 0, 0])]
)
def test_face_wise_attention_against_a_loop(watched, tokens, chosen):
    expected = sum(loop_difference(layer, [chosen] * 2) for layer in watched.attentions) / 2
    assert float(FaceWiseAttention(0.003, tokens)(watched)) == pytest.approx(0.003 * expected, rel=1e-4)


def test_face_wise_attention_leaves_out_what_only_fills_up_a_context(watched):
    """Which are looked at, too: as the many of Anima, all alike."""
    for part in (watched.encoding.keys, *(side for one in watched.attentions for side in (one.keys, one.reference))):
        part[:, 4:] = 0
    expected = sum(loop_difference(layer, [[1, 1, 1, 1, 0, 0]] * 2) for layer in watched.attentions) / 2
    assert float(FaceWiseAttention(1.0, ALL)(watched)) == pytest.approx(expected, rel=1e-4)


def test_face_wise_attention_as_equation_1_is_the_sum_over_heads_tokens_and_places(watched):
    for tokens, chosen in ((ALL, [1] * 6), (PLACEHOLDER, [0, 0, 1, 0, 0, 0])):
        mean = sum(loop_difference(layer, [chosen] * 2) for layer in watched.attentions) / 2
        summed = mean * 2 * sum(chosen) * 24
        assert float(FaceWiseAttention(0.003, tokens, SUM)(watched)) == pytest.approx(0.003 * summed, rel=1e-4)


def test_context_regularization_against_a_loop():
    words = torch.tensor([[0, 1, 0, 1, 0], [0, 1, 1, 1, 0]]).bool()
    plain, sides = random(2, 5, 4), [random(2, 5, 4, seed=1), random(2, 5, 4, seed=2)]
    shares = [
        [
            float((side - plain)[b, k].square().sum() / plain[b, k].square().sum())
            for b in range(2)
            for k in range(5)
            if words[b, k]
        ]
        for side in sides
    ]
    step = SimpleNamespace(context=RichContexts(sides, plain, words))
    expected = sum(sum(one) / len(one) for one in shares) / 2
    assert float(ContextRegularization(0.5)(step)) == pytest.approx(0.5 * expected, rel=1e-5)


def test_face_wise_attention_is_zero_where_both_look_alike(watched):
    layer = watched.attentions[0]
    watched.attentions = [CrossAttention(layer.queries, layer.keys, layer.keys, 2, (4, 6), (8, 12))]
    assert float(FaceWiseAttention(1.0)(watched)) == 0


def loop_map(layer, row, head, token):
    """Where one head looks for one token [h, w], place by place."""
    depth = layer.queries.shape[2] // layer.heads
    part = slice(head * depth, (head + 1) * depth)
    shares = []
    for query in layer.queries[row, :, part].double():
        scores = [math.exp(float(query @ key) / math.sqrt(depth)) for key in layer.keys[row, :, part].double()]
        shares.append(scores[token] / sum(scores))
    return torch.tensor(shares, dtype=torch.float32).reshape(layer.shape)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((8, 12), torch.float32), ((2, 3), torch.float32), ((8, 12), torch.bfloat16)]
)
def test_layers_of_all_sizes_are_brought_to_half_the_latent(shape, dtype):
    """A finer layer's places are averaged, a coarser one's interpolated; probabilities are computed in fp32."""
    (h, w), size = shape, (4, 6)
    layer = CrossAttention(
        random(2, h * w, 8).to(dtype), random(2, 6, 8, seed=1).to(dtype), random(2, 6, 8, seed=2), 2, shape, (8, 12)
    )
    maps = brought_to(size, attention_maps(layer.queries, layer.keys, 2, shape))
    assert maps.shape == (2, 2, 6, *size) and maps.dtype == torch.float32
    torch.testing.assert_close(maps.sum(2), torch.ones(2, 2, *size))
    for row, head, token in ((0, 0, 0), (1, 0, 5), (0, 1, 3)):
        single = loop_map(layer, row, head, token)
        if h > size[0]:
            expected = single.reshape(4, 2, 6, 2).mean((1, 3))
        else:
            expected = torch.nn.functional.interpolate(single[None, None], size, mode="bilinear")[0, 0]
        torch.testing.assert_close(maps[row, head, token], expected, atol=1e-6, rtol=1e-5)


def test_maps_of_any_size_are_brought_to_any_with_their_gradients():
    maps, weights = random(2, 1, 3, 5, 7), random(2, 1, 3, 3, 4, seed=1)
    found = []
    for bring in (partial(brought_to, (3, 4)), lambda one: F.interpolate(one[:, 0], (3, 4), mode="bilinear")[:, None]):
        given = maps.clone().requires_grad_()
        made = bring(given)
        (made * weights).sum().backward()
        found.append((made.detach(), given.grad))
    torch.testing.assert_close(*found)


def test_only_the_personas_side_of_face_wise_attention_learns(watched):
    layer = watched.attentions[0]
    for tensor in (layer.queries, layer.keys, layer.reference):
        tensor.requires_grad_()
    watched.attentions = [layer]
    FaceWiseAttention(1.0)(watched).backward()
    assert layer.keys.grad.any() and layer.queries.grad.any() and layer.reference.grad is None
