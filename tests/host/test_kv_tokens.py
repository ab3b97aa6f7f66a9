"""K/V tokens on the host's models: what each layer is given, what the attention loss looks at, what is learned."""

from dataclasses import replace

import comfy.ldm.modules.attention
import pytest
import torch
from comfy.ldm.modules.attention import attention_pytorch
from jobs import learned
from recording import Recorder, encode, sample

from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.apply.sampling import TABLE
from persona_core.host.clip import text_towers
from persona_core.host.learn.autograd import differentiable
from persona_core.host.learn.denoiser import FrozenDenoiser
from persona_core.host.learn.run import train_persona
from persona_core.host.model import cross_attention_blocks
from persona_core.kv_tokens import KVTokens
from persona_core.losses import COMPARED
from persona_core.persona import Persona
from persona_core.recipes import KVTokensRecipe
from persona_core.table import AppliedPersona
from persona_core.task import TrainingSettings


@pytest.fixture
def bob(clip):
    """A persona of five pairs that are nothing alike."""
    tower = text_towers(clip).first
    word = tower.embedding(tower.word_ids("person")[0])
    vectors = torch.randn(5, 2, tower.width, generator=torch.Generator().manual_seed(3)) * word.std()
    return Persona("bob", KVTokens(word, vectors), text_towers(clip).family, "person")


@pytest.fixture
def kv_job(job):
    settings = TrainingSettings(steps=4, learning_rate=5e-3, batch_size=2, weight_decay=0.0, seed=5)
    return replace(job, recipe=KVTokensRecipe(resolution=64, learning=settings))


def context_of(clip, text, *standing):
    """The context [1, 77, D] of a text with these tokens or vectors at its {}, by the host alone: a run of its own."""
    tower = text_towers(clip).first
    [section] = clip.tokenize(text.replace("{}", "person"))[tower.key]
    [word], rest, pairs = tower.word_ids("person"), iter(standing), []
    for token, weight in section:
        pairs += [(one, 1.0) for one in next(rest)] if token == word else [(token, weight)]
    return clip.cond_stage_model.encode_token_weights({tower.key: [pairs[:77]]})[0]


def test_k_and_v_come_from_their_stages_pair_in_every_layer(model, clip, bob):
    applied = apply_to_clip(clip, AppliedPersona(bob), "<bob>")
    positive, negative = encode(applied, "a photo of <bob> in snow"), encode(clip, "lowres")
    recorder = Recorder(model)
    sample(model, positive, negative, steps=12)
    layers, stages = len(cross_attention_blocks(model.model.diffusion_model)), set()
    for one in recorder.passes:
        stage = min(int(one["t"] * 5 / 1000), 4)
        pair = bob.representation.vectors[stage]
        stages.add(stage)
        for side, vector in zip("kv", pair):
            expected = context_of(clip, "a photo of {} in snow", [vector])
            assert len(one[side]) == layers
            for context in one[side]:
                torch.testing.assert_close(context[one["rows"].index(0)][None], expected, atol=1e-5, rtol=1e-4)
    assert stages == {0, 1, 2, 3, 4}


@pytest.fixture
def both(clip, bob, make_persona):
    """A CLIP that knows <ann>, of the one kind, and <bob>, of the other."""
    known = apply_to_clip(clip, AppliedPersona(bob), "<bob>")
    return apply_to_clip(known, AppliedPersona(make_persona()), "<ann>")


def test_two_people_in_one_prompt(model, both, bob, make_persona):
    [[_, options]] = positive = encode(both, "a photo of <ann> and <bob>")
    assert options[TABLE].placeholders == {"<ann>", "<bob>"}
    negative = encode(both, "lowres")
    recorder = Recorder(model)
    sample(model, positive, negative, steps=6)
    assert check_rows(recorder.passes, lambda size: options[TABLE], negative[0][0]) == {(8, 8)}
    ann, tower = make_persona(), text_towers(both).first
    for t in (900, 700, 440, 100):  # where the table holds what was encoded
        mine, theirs = AppliedPersona(ann).vectors(t), bob.representation.vectors[t // 200]
        for side, found in zip((0, 1), options[TABLE].at(t)):
            standing = tower.word_ids("face") if mine is None else list((mine.keys, mine.values)[side][0])
            expected = context_of(both, "a photo of {} and {}", standing, [theirs[side]])
            # At ann's own places the bypass is added to V, and only there.
            places = torch.ones(77, dtype=torch.bool)
            places[4 : 4 + len(standing)] = side == 0 or mine is None
            torch.testing.assert_close(found[:, places], expected[:, places], atol=1e-4, rtol=1e-3)
            assert places.all() or not torch.allclose(found[:, ~places], expected[:, ~places], atol=1e-3)


def test_each_region_gets_its_own_persona(model, both):
    # Of unlike shape, so that each is a pass of its own.
    regions = {"<ann>": (16, 8, 0, 0), "<bob>": (8, 16, 8, 0)}
    positive, tables = [], {}
    for name, area in regions.items():
        [[context, options]] = encode(both, f"a photo of {name}")
        positive.append([context, {**options, "area": area, "strength": 1.0, "set_area_to_bounds": False}])
        tables[area[:2]] = options[TABLE]
    negative = encode(both, "lowres")
    recorder = Recorder(model)
    sample(model, positive, negative, steps=6, size=16)
    assert check_rows(recorder.passes, tables.get, negative[0][0]) == set(tables)
    assert not any(torch.equal(*(table.at(700)[side] for table in tables.values())) for side in (0, 1))


def check_rows(passes, table_of, negative) -> set:
    """Every positive row has K and V of the table for its pass's size, every negative one its context; the sizes."""
    seen = set()
    for one in passes:
        for place, side in enumerate("kv"):
            for context in one[side]:
                for row, cond in zip(context, one["rows"]):
                    expected = negative if cond else table_of(one["size"]).at(one["t"])[place]
                    assert torch.equal(row[None], expected)
                    seen |= {one["size"]} if not cond else set()
    return seen


def test_watching_changes_no_prediction_and_sees_what_the_layers_see(model, clip):
    with differentiable(model, clip.patcher), torch.no_grad():
        denoiser = FrozenDenoiser(model)
        draw = torch.Generator().manual_seed(0)
        noisy, t = torch.randn(2, 4, 8, 8, generator=draw), torch.tensor([100, 700])
        width = text_towers(clip).width
        keys, values, reference = (torch.randn(2, 77, width, generator=draw) for _ in range(3))
        plain = denoiser.predict(noisy, t, keys, values)
        attentions = [m for n, m in model.model.diffusion_model.named_modules() if n.endswith("attn2")]
        queries, hooks = [], []
        for attention in attentions:
            hooks.append(attention.to_q.register_forward_hook(lambda module, inputs, output: queries.append(output)))
        seen, layers = denoiser.predict_watched(noisy, t, keys, values, reference)
        for hook in hooks:
            hook.remove()
        torch.testing.assert_close(plain, seen, atol=1e-5, rtol=1e-4)
        for layer, attention, query in zip(layers, attentions, queries, strict=True):
            assert layer.queries is query  # of this very pass
            assert layer.heads == attention.heads and layer.latent == (8, 8)
            assert layer.shape[0] * layer.shape[1] == query.shape[1] and layer.shape[0] == layer.shape[1]
            torch.testing.assert_close(layer.keys, attention.to_k(keys))
            torch.testing.assert_close(layer.reference, attention.to_k(reference))
        alike = denoiser.predict_watched(noisy, t, keys, keys, keys)[1]
        assert all(torch.equal(layer.keys, layer.reference) for layer in alike)


def test_the_attention_loss_costs_no_second_pass(model, kv_job, tmp_path):
    passes = []
    model.model.diffusion_model.register_forward_pre_hook(lambda module, args: passes.append(len(args[0])))
    for weight in (0.0, 0.003):
        passes.clear()
        learned(replace(kv_job, recipe=replace(kv_job.recipe, attention_weight=weight)), tmp_path, name=str(weight))
        assert passes == [2] * 4


@pytest.mark.parametrize("tokens", COMPARED)
def test_learning_moves_all_pairs_and_tells_every_term(kv_job, tmp_path, tokens):
    recipe = replace(kv_job.recipe, attention_tokens=tokens, te_weight=1e-3)
    persona = learned(replace(kv_job, recipe=recipe), tmp_path)
    assert set(persona.losses) == {"noise", "equilibrium", "attention"} and len(persona.losses["attention"]) == 4
    kept = persona.representation
    assert isinstance(kept, KVTokens) and (kept.vectors != kept.word).all(-1).all()
    assert persona.save(tmp_path / "bob.safetensors").stat().st_size <= 40_000


def test_the_attention_loss_draws_the_maps_together(kv_job, tmp_path):
    def attention(weight):
        settings = replace(kv_job.recipe.learning, steps=60)
        recipe = replace(kv_job.recipe, learning=settings, attention_weight=weight)
        return (
            sum(learned(replace(kv_job, recipe=recipe), tmp_path, name=f"{weight}").losses["attention"][-20:]) / weight
        )

    assert attention(1e4) < 0.75 * attention(1e-9)


def test_an_interrupted_run_goes_on_to_the_same_persona(kv_job, tmp_path):
    asked = replace(kv_job, recipe=replace(kv_job.recipe, te_weight=1e-3))
    whole = learned(asked, tmp_path, name="whole")

    def interrupt(progress):
        if progress.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_persona(asked, asked.fingerprint(), tmp_path / "run.partial", interrupt)
    resumed = learned(asked, tmp_path)
    assert torch.equal(whole.representation.vectors, resumed.representation.vectors)
    assert resumed.losses == whole.losses


def test_learn_persona_takes_the_attention_loss_too(job, tmp_path):
    persona = learned(replace(job, recipe=replace(job.recipe, attention_weight=0.003)), tmp_path)
    assert set(persona.losses) == {"noise", "equilibrium", "attention"}


@pytest.mark.parametrize("backend", ["attention_pytorch", "attention_sub_quad", "attention_split", "attention_basic"])
def test_whatever_attention_the_host_chose(kv_job, tmp_path, monkeypatch, backend):
    usual = learned(kv_job, tmp_path, name="usual").representation.vectors
    chosen = getattr(comfy.ldm.modules.attention, backend)
    monkeypatch.setattr(comfy.ldm.modules.attention, "optimized_attention", chosen)
    torch.testing.assert_close(learned(kv_job, tmp_path, name=backend).representation.vectors, usual)


def test_another_packs_cross_attention_stays_in_the_pass(model, clip):
    other = model.clone()
    calls = []

    def theirs(query, key, value, extra):
        calls.append(key.shape[1])
        return 0.5 * attention_pytorch(query, key, value, extra["n_heads"])

    for section, number, _ in cross_attention_blocks(model.model.diffusion_model):
        other.set_model_attn2_replace(theirs, section, number)
    with differentiable(other, clip.patcher), torch.no_grad():
        noisy, t, width = torch.zeros(1, 4, 8, 8), torch.tensor([500]), text_towers(clip).width
        context = torch.randn(1, 77, width, generator=torch.Generator().manual_seed(0))
        denoiser = FrozenDenoiser(other)
        plain = denoiser.predict(noisy, t, context, context)
        count = len(calls)
        watched, _ = denoiser.predict_watched(noisy, t, context, context, context)
        torch.testing.assert_close(plain, watched)
        assert len(calls) == 2 * count and set(calls) == {77}
