"""Learning in the memory there is: what is computed twice, what a step keeps, and what happens when it is too much."""

import gc
import json
import logging
import random
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace

import comfy.model_management
import pytest
import tiny_models
import torch
from torch import nn

from persona_core.host.clip import text_towers
from persona_core.host.denoiser import FrozenDenoiser, cross_attention_blocks, host_attention, text_width
from persona_core.host.frozen import MULTIPLIES, differentiable
from persona_core.host.learner import KVRecipe, Recipe, TooLittleMemory, learn_persona, load_progress
from persona_core.host.memory import (
    REST,
    Fit,
    computed_twice,
    fit,
    kept_by,
    kept_by_row,
    layers_of,
    out_of_memory,
)
from persona_core.host.pictures import Photo
from persona_core.host.text import DifferentiableText
from persona_core.learning import LearningSettings, References, draw, learn, see
from persona_core.losses import attention_difference
from persona_core.mapper import StageMapper
from persona_core.stages import Stages

PRINT = "fingerprint"  # of all lessons here: another pack's functions have no lasting one


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def own_forwards(patcher) -> list[nn.Module]:
    """The modules of a UNet that compute something else than their class does."""
    return [module for module in patcher.model.diffusion_model.modules() if "forward" in module.__dict__]


# Computed twice


def gradients(patcher, layers=(), watch=True):
    """A pass of two rows: its prediction, how its layers looked, and the gradients to the contexts for K and V."""
    with differentiable(patcher), computed_twice(layers):
        denoiser, width, t = FrozenDenoiser(patcher), text_width(patcher), torch.tensor([100, 700])
        keys, values = (noise(2, 77, width, seed=seed).requires_grad_() for seed in (1, 2))
        pooled = noise(2, 128, seed=3) if width == 192 else None  # SDXL's
        seen = noise(2, 4, 8, 8), t, keys, values
        if watch:
            prediction, attentions = denoiser.predict_watched(*seen, noise(2, 77, width, seed=4), pooled)
        else:
            prediction, attentions = denoiser.predict(*seen, pooled), []
        every = torch.ones(2, 77, dtype=torch.bool)
        loss = prediction.square().mean() + 1e3 * sum(attention_difference(one, every) for one in attentions)
        loss.backward()
    return prediction.detach(), attentions, keys.grad, values.grad


def neighbour(model):
    """A MODEL with another pack's patches, of which each does something else in each block."""
    patched = model.clone()

    def by_block(n, extra):
        return n * (1 + extra["block"][1] % 5)

    patched.set_model_attn1_output_patch(by_block)
    patched.set_model_attn2_output_patch(by_block)
    patched.set_model_attn2_replace(lambda q, k, v, extra: 3 * host_attention(q, k, v, extra), "middle", 0)
    return patched


MODELS = {
    "SD1.x": tiny_models.model,
    "SDXL": lambda: tiny_models.model(sdxl=True),
    "patched": lambda: neighbour(tiny_models.model()),
}


@pytest.mark.parametrize("watch", [False, True])
@pytest.mark.parametrize("kind", MODELS)
def test_layers_computed_twice_give_the_same_prediction_and_gradients(kind, watch):
    model = MODELS[kind]()
    layers, calls = layers_of(model.model.diffusion_model), []
    once = gradients(model, watch=watch)
    queries = [m for n, m in model.model.diffusion_model.named_modules() if n.endswith("attn2.to_q")]
    hooks = [one.register_forward_hook(lambda module, *_: calls.append(module)) for one in queries]
    twice = gradients(model, layers, watch)
    for hook in hooks:
        hook.remove()
    assert calls == queries + queries[::-1]  # the second time in the backward pass
    for one, other in zip(once, twice, strict=True):
        if isinstance(one, torch.Tensor):
            assert one.abs().max() > 0
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6 * float(one.abs().max()))


def test_layers_computed_twice_are_watched_once(model):
    layers, blocks = layers_of(model.model.diffusion_model), cross_attention_blocks(model.model.diffusion_model)
    once, twice = (gradients(model, some)[1] for some in ((), layers))
    assert len(once) == len(twice) == len(blocks)
    for one, other in zip(once, twice, strict=True):
        assert one.shape == other.shape and one.heads == other.heads
        for name in ("queries", "keys", "reference"):
            torch.testing.assert_close(getattr(one, name), getattr(other, name))


def test_other_packs_patches_of_a_block_make_a_difference(model):
    """Or the test above would not tell whether the second time knows its block."""
    plain, patched = gradients(model), gradients(neighbour(model))
    assert all((one - other).abs().max() > 0.05 * one.abs().max() for one, other in zip(plain[::2], patched[::2]))


def test_layers_have_their_own_forward_only_within(model):
    layers = layers_of(model.model.diffusion_model)
    with computed_twice(layers):
        assert own_forwards(model) == layers
    assert not own_forwards(model)
    gradients(model, layers)
    assert not own_forwards(model)


def test_an_error_within_leaves_no_trace(model):
    layers, patched = layers_of(model.model.diffusion_model), model.clone()

    def fail(n, k, v, extra):
        raise ZeroDivisionError

    patched.set_model_attn2_patch(fail)
    with pytest.raises(ZeroDivisionError):
        gradients(patched, layers)
    assert not own_forwards(model)


def test_another_packs_own_forward_is_used_and_comes_back(model):
    layers, calls = layers_of(model.model.diffusion_model), []
    mine, usual = layers[2], layers[2].forward

    def theirs(*args, **more):
        calls.append(1)
        return 2 * usual(*args, **more)

    mine.forward = theirs
    once, _, *of_once = gradients(model)
    twice, _, *of_twice = gradients(model, layers)
    assert len(calls) == 1 + 2 and own_forwards(model) == [mine] and mine.forward is theirs
    for one, other in zip((once, *of_once), (twice, *of_twice)):
        torch.testing.assert_close(one, other)


# What is kept


@contextmanager
def opened(model, clip, recipe, size=(8, 8)):
    """What learning hands to `learn`, of random latents of a size."""
    with differentiable(model, clip.patcher):
        towers = text_towers(clip)
        representation = recipe.representation(towers.word(recipe.supercategory), None, towers.widths)
        text = DifferentiableText(clip, representation.tokens, recipe.supercategory)
        y, x = torch.meshgrid(*(torch.linspace(-1, 1, side) for side in size), indexing="ij")
        references = References(noise(1, 4, *size), (x**2 + y**2 < 0.5).float()[None, None])
        yield representation, references, text, FrozenDenoiser(model), recipe.objective(text), recipe.learning


def weights_of(*patchers):
    return [weight for patcher in patchers for weight in patcher.model.parameters()]


def kept_by_a_step(parts, layers, weights):
    """Bytes that a step of one row really keeps."""
    representation, references, text, denoiser, objective, settings = parts
    draws = draw(representation, references, objective, replace(settings, batch_size=1), 0)

    def step():
        seen = see(representation, references, text, denoiser, objective, draws)
        return [term(seen) for term in objective.terms.values()]

    return kept_by(step, layers, weights)


@pytest.mark.parametrize("recipe", [Recipe(), KVRecipe(), Recipe(attention_weight=3e-3)])
def test_what_a_row_keeps_is_told_from_smaller_ones(model, clip, recipe):
    for size in ((32, 32), (24, 40)):
        with opened(model, clip, recipe, size) as parts:
            layers, weights = layers_of(model.model.diffusion_model), weights_of(model, clip.patcher)
            real, told = kept_by_a_step(parts, layers, weights), kept_by_row(*parts, weights)
            # The first layer comes before the context, so autograd passes it by.
            assert {key for key, size in real.items() if size} == {REST, *layers[1:]}
            assert sum(told.values()) == pytest.approx(sum(real.values()), rel=0.15)
            assert all(told[key] == pytest.approx(real[key], rel=0.15) for key in real)


@pytest.mark.parametrize("recipe", [Recipe(), KVRecipe()])
def test_layers_computed_twice_keep_less(model, clip, recipe):
    with opened(model, clip, recipe, (16, 16)) as parts:
        layers, weights = layers_of(model.model.diffusion_model), weights_of(model, clip.patcher)
        usual = kept_by_a_step(parts, layers, weights)
        with computed_twice(layers):
            less = kept_by_a_step(parts, layers, weights)
        half = layers[::2]
        with computed_twice(half):
            between = kept_by_a_step(parts, layers, weights)
    assert sum(less[layer] for layer in layers) < 0.15 * sum(usual[layer] for layer in layers)  # their inputs
    assert sum(less.values()) < sum(between.values()) < sum(usual.values())
    assert all(between[layer] == usual[layer] > 0 for layer in layers[1::2])


def step_of(layers_keep: list[float], rest: float):
    layers = [nn.Identity() for _ in layers_keep]
    return layers, {REST: rest, **dict(zip(layers, layers_keep))}


def needed(kept, fitted: Fit) -> float:
    """Bytes of the rows at once, where layers that are computed twice need theirs one after the other."""
    twice = [kept[layer] for layer in fitted.twice]
    return fitted.rows * (sum(kept.values()) - sum(twice) + max(twice, default=0))


def test_where_everything_has_room_nothing_is_computed_twice():
    layers, kept = step_of([30, 20, 10], 40)
    assert fit(kept, 4, 400) == fit(kept, 4, 1e9) == Fit(4, frozenset())


def test_with_less_room_the_largest_layers_are_computed_twice_and_no_more():
    (small, large, middle, least), kept = step_of([20, 50, 30, 10], 40)
    assert fit(kept, 2, 299) == fit(kept, 2, 240) == Fit(2, frozenset({large, middle}))
    assert fit(kept, 2, 239) == fit(kept, 2, 200) == Fit(2, frozenset({large, middle, small}))
    assert fit(kept, 2, 199) == fit(kept, 2, 180) == Fit(2, frozenset({large, middle, small, least}))


def test_with_still_less_room_fewer_rows_are_looked_at_at_once():
    layers, kept = step_of([20, 50, 30, 10], 40)
    every = frozenset(layers)
    assert fit(kept, 8, 8 * 90) == Fit(8, every) and fit(kept, 8, 8 * 90 - 1).rows == 4
    assert fit(kept, 8, 4 * 150) == Fit(4, frozenset())  # all rows are too many even with every layer computed twice
    assert fit(kept, 3, 3 * 90 - 1).rows == 1
    assert fit(kept, 8, 90) == Fit(1, every)


@pytest.mark.parametrize("room", [89, 1, 0, -1e9])
def test_where_nothing_fits_the_least_is_tried(room):
    layers, kept = step_of([20, 50, 30, 10], 40)
    assert fit(kept, 8, room) == Fit(1, frozenset(layers))


def test_what_is_chosen_has_room_and_what_is_faster_has_none():
    chance = random.Random(0)
    for _ in range(500):
        layers, kept = step_of([chance.choice((0, 1, 2, 5, 40)) for _ in range(chance.randint(1, 8))], chance.random())
        rows, room = chance.randint(1, 9), chance.uniform(-1, 400)
        fitted = fit(kept, rows, room)
        choice = [rows >> halvings for halvings in range(rows.bit_length())]
        assert fitted.rows in choice
        assert needed(kept, fitted) <= room or fitted == Fit(1, frozenset(layers))
        order = sorted(layers, key=kept.get, reverse=True)
        fewer = Fit(fitted.rows, frozenset(order[: len(fitted.twice) - 1]))
        assert not fitted.twice or needed(kept, fewer) > room
        more = [one for one in choice if one > fitted.rows]
        assert all(needed(kept, Fit(one, frozenset(layers))) > room for one in more)


# Rows


# Weights that make every term count in a tiny UNet.
ATTENTION = KVRecipe(attention_weight=1e6, learning=LearningSettings(4, 5e-3, 3, weight_decay=0.0, seed=5))
RECIPES = [
    Recipe(te_weight=10.0, learning=LearningSettings(4, 1e-3, 3, seed=5)),
    replace(ATTENTION, te_weight=10.0),
    replace(ATTENTION, attention_tokens="the placeholder only"),
    replace(ATTENTION, attention_tokens="the prompt's tokens"),
]


def moved(representation, start) -> torch.Tensor:
    """How far all that is learned moved."""
    state = representation.state_dict()
    return torch.cat([(state[name] - value).flatten() for name, value in start.items()])


def alike(one, other) -> bool:
    """Whether two moved the same way, but for rounding: Adam makes much of gradients that are next to nothing."""
    return one.norm() > 0 and (one - other).norm() < 1e-3 * one.norm()


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_row_at_a_time_learns_the_same(model, clip, recipe):
    found, losses = [], []
    for at_once in (None, 2, 1):
        with opened(model, clip, recipe) as parts:
            start = {name: value.clone() for name, value in parts[0].state_dict().items()}
            losses.append(learn(*parts, at_once=at_once).losses)
            found.append(moved(parts[0], start))
    for few, told in zip(found[1:], losses[1:]):
        assert alike(found[0], few)
        assert {name: pytest.approx(values, rel=1e-3) for name, values in losses[0].items()} == told


# Out of memory


@pytest.fixture
def lesson(lesson):
    """Of a picture that is not square."""
    photo = lesson.photos[0]
    wide = Photo(torch.cat([photo.image, photo.image[:, :32]], 1), torch.cat([photo.mask, photo.mask[:, :32]], 1))
    return replace(lesson, photos=[wide])


@pytest.fixture
def plenty(monkeypatch):
    """Room for all, however little of this machine's memory is free."""

    def free(device=None, torch_free_too=False):
        return (2**50, 2**50) if torch_free_too else 2**50

    monkeypatch.setattr(comfy.model_management, "get_free_memory", free)


class Stop(Exception):
    """What another pack, or whoever interrupts, raises."""


class Trouble:
    """Another pack's attention patch, which fails from a step on with more than so many rows. on_step: tells it."""

    def __init__(self, model, error: Exception, step: int, rows: int):
        self.error, self.step, self.rows, self.done, self.raised = error, step, rows, 0, 0

        def patch(n, k, v, extra):  # no method: with the options, the host would copy its object too
            if self.done + 1 >= self.step and len(n) > self.rows:
                self.raised += 1
                raise self.error
            return n, k, v

        self.model = model.clone()
        self.model.set_model_attn2_patch(patch)

    def on_step(self, progress):
        self.done = progress.step


def learned(lesson, folder, on_step=lambda progress: None, name="run"):
    return learn_persona(lesson, PRINT, folder / f"{name}.partial", on_step)


def tensors(persona):
    return {name: value.clone() for name, value in persona.representation.state_dict().items()}


@pytest.fixture
def start(lesson, tmp_path):
    """What every persona of the lesson starts as."""
    settings = replace(lesson.recipe.learning, steps=0)
    return tensors(learned(replace(lesson, recipe=replace(lesson.recipe, learning=settings)), tmp_path, name="start"))


def out_of_memory_error():
    return comfy.model_management.OOM_EXCEPTION("CUDA out of memory. Tried to allocate 2.00 GiB.")


def warnings(caplog) -> list[str]:
    return [record.message for record in caplog.records if record.levelno == logging.WARNING]


@pytest.mark.parametrize("step", [1, 4])
def test_out_of_memory_learning_goes_on_with_what_needs_least(lesson, tmp_path, caplog, plenty, start, step):
    unet = lesson.model.model.diffusion_model
    usual = learned(lesson, tmp_path, name="usual")
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    trouble, passes = Trouble(lesson.model, out_of_memory_error(), step, rows=1), []
    unet.register_forward_pre_hook(lambda module, args: passes.append(len(args[0])))
    persona = learned(replace(lesson, model=trouble.model), tmp_path, trouble.on_step)
    assert trouble.raised == 1 and trouble.done == 6
    assert [2] * step + [1] * 2 * (7 - step) == passes[-step - 2 * (7 - step) :]
    [warning] = warnings(caplog)
    assert f"Out of memory at step {step}: goes on from there with 1 of 2 pictures at once, 21 of 21 layers" in warning
    assert {name: len(losses) for name, losses in persona.losses.items()} == {"noise": 6, "equilibrium": 6}
    for name, losses in usual.losses.items():
        assert persona.losses[name] == pytest.approx(losses, rel=1e-4)
    assert alike(*(moved(one.representation, start) for one in (usual, persona)))
    assert all(torch.equal(value, before[name]) for name, value in unet.state_dict().items())
    assert not own_forwards(lesson.model) and torch.is_inference_mode_enabled()


def test_where_not_even_the_least_fits_the_artist_is_told_and_goes_on_later(lesson, tmp_path, caplog, plenty, start):
    usual = learned(lesson, tmp_path, name="usual")
    trouble = Trouble(lesson.model, out_of_memory_error(), 3, rows=0)
    with pytest.raises(TooLittleMemory, match="one picture of 96x64 pixels.*Lower the resolution"):
        learned(replace(lesson, model=trouble.model), tmp_path, trouble.on_step)
    assert trouble.raised == 2 and len(warnings(caplog)) == 1 and not own_forwards(lesson.model)
    assert load_progress(tmp_path / "run.partial", PRINT).step == 2
    steps = []
    resumed = learned(lesson, tmp_path, lambda progress: steps.append(progress.step))
    assert steps == [3, 4, 5, 6] and len(resumed.losses["noise"]) == 6
    assert alike(*(moved(one.representation, start) for one in (usual, resumed)))


@pytest.mark.parametrize("error", [ValueError("of another pack"), RuntimeError("mat1 and mat2 shapes"), Stop()])
def test_other_errors_are_not_taken_for_too_little_memory(lesson, tmp_path, caplog, plenty, error):
    trouble = Trouble(lesson.model, error, 3, rows=1)
    with pytest.raises(type(error)) as caught:
        learned(replace(lesson, model=trouble.model), tmp_path, trouble.on_step)
    assert caught.value is error and trouble.raised == 1 and not warnings(caplog)


def test_the_errors_that_say_memory_is_used_up():
    """As the allocators here really say it."""
    for allocate in (lambda: torch.empty(1 << 50), lambda: bytearray(1 << 60)):
        with pytest.raises((RuntimeError, MemoryError)) as caught:
            allocate()
        assert out_of_memory(caught.value)
    assert out_of_memory(out_of_memory_error())
    assert not any(map(out_of_memory, (RuntimeError("shapes cannot be multiplied"), ValueError(), KeyboardInterrupt())))


REALLY_OUT_OF_MEMORY = """
import sys
sys.path[:0] = {path!r}
import host_modules
import json, logging, resource
from dataclasses import replace
from pathlib import Path
import comfy.model_management, tiny_models, torch
from persona_core.host import learner
from persona_core.host.pictures import Photo
from persona_core.learning import LearningSettings

torch.set_num_threads(1)
# Which is wrong:
comfy.model_management.get_free_memory = lambda device, torch_free_too=False: (2**50,) * 2 if torch_free_too else 2**50
logging.basicConfig(level=logging.WARNING)
learning = LearningSettings(steps=1, batch_size=8, learning_rate=1e-3)
with torch.inference_mode():
    models = tiny_models.model(), tiny_models.clip(), tiny_models.vae()
    photo = Photo(torch.rand(256, 256, 3), torch.ones(256, 256))
    lesson = learner.Lesson("ann", *models, [photo], learner.Recipe(resolution=256, learning=learning))
    # Once before, with one row, so that all that stays is there.
    few = replace(lesson.recipe, learning=replace(learning, batch_size=1))
    learner.learn_persona(replace(lesson, recipe=few), "few", Path("few.partial"), lambda progress: None)
    status = Path("/proc/self/status").read_text().splitlines()
    used = 1024 * int(next(line.split()[1] for line in status if line.startswith("VmSize:")))
    resource.setrlimit(resource.RLIMIT_AS, (used + 75 * 2**20, resource.RLIM_INFINITY))
    persona = learner.learn_persona(lesson, "all", Path("all.partial"), lambda progress: None)
print(json.dumps(persona.losses))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process")
def test_when_memory_really_is_used_up_learning_goes_on(tmp_path):
    script = REALLY_OUT_OF_MEMORY.format(path=sys.path)
    run = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    assert "Out of memory at step 1: goes on from there with 1 of 8 pictures at once, 21 of 21 layers" in run.stderr
    assert [len(losses) for losses in json.loads(run.stdout.splitlines()[-1]).values()] == [1, 1]


def tensors_alive() -> int:
    gc.collect()
    return sum(issubclass(type(one), torch.Tensor) for one in gc.get_objects())


@pytest.mark.parametrize("trouble", [False, True])
def test_nothing_of_a_learned_persona_stays(lesson, tmp_path, plenty, trouble):
    recipe, counts = KVRecipe(supercategory="face", resolution=64, learning=LearningSettings(2, batch_size=3)), []
    for number in range(3):
        given = Trouble(lesson.model, out_of_memory_error(), 1 if trouble else 99, rows=1)
        learned(replace(lesson, model=given.model, recipe=recipe), tmp_path, given.on_step, f"{number}")
        assert given.raised == trouble
        del given
        counts.append(tensors_alive())
    assert counts[1] == counts[2]


# Models


@pytest.fixture
def parts(lesson):
    """The patchers of a lesson."""
    return {"model": lesson.model, "clip": lesson.clip.patcher, "vae": lesson.vae.patcher}


def loaded(parts) -> set[str]:
    """Which of them the host has loaded."""
    bases = [one.model for one in comfy.model_management.loaded_models() if one is not None]
    return {name for name, patcher in parts.items() if any(base is patcher.model for base in bases)}


@pytest.mark.parametrize("end", ["learned", "error", "interrupt"])
@pytest.mark.parametrize("before", [(), ("model",), ("model", "clip", "vae")])
def test_what_learning_loaded_it_hands_back(lesson, tmp_path, parts, before, end):
    parts["other"] = tiny_models.model()
    comfy.model_management.unload_all_models()  # on the CPU, the host loads a text encoder when it makes it
    comfy.model_management.load_models_gpu([parts[name] for name in (*before, "other")])
    during = []

    def on_step(progress):
        during.append(loaded(parts))
        if progress.step == 2 and end != "learned":
            raise {"error": Stop, "interrupt": comfy.model_management.InterruptProcessingException}[end]

    try:
        learned(lesson, tmp_path, on_step)
    except (Stop, comfy.model_management.InterruptProcessingException):
        assert end != "learned" and len(during) == 2
    assert during[0] == set(parts)
    assert loaded(parts) == {*before, "other"}


def test_a_model_that_was_loaded_with_other_patches_is_still_loaded(lesson, tmp_path, parts):
    clone = lesson.model.clone()
    clone.set_model_attn2_patch(lambda n, k, v, extra: (n, k, v))
    comfy.model_management.unload_all_models()
    comfy.model_management.load_models_gpu([clone])
    learned(lesson, tmp_path)
    assert loaded(parts) == {"model"}


# Precision


def test_weights_are_cast_while_learning_and_the_very_same_after():
    model, clip = tiny_models.model(dtype=torch.float16), tiny_models.clip(dtype=torch.float16)
    modules = model.model.diffusion_model, clip.cond_stage_model
    before = [dict(module.named_parameters()) for module in modules]
    values = [{name: one.clone() for name, one in parameters.items()} for parameters in before]
    assert {one.dtype for one in before[0].values()} == {torch.float16}
    with differentiable(model, clip.patcher, dtype=torch.bfloat16):
        multiply = [part for module in modules for part in module.modules() if isinstance(part, MULTIPLIES)]
        assert {part.weight.dtype for part in multiply} == {torch.bfloat16}
        assert any(isinstance(part, nn.Conv2d) for part in multiply)
        embeddings = [part for part in modules[1].modules() if isinstance(part, nn.Embedding)]
        assert embeddings and not any(part.weight.dtype == torch.bfloat16 for part in embeddings)
    for module, parameters, value in zip(modules, before, values):
        after = dict(module.named_parameters())
        assert list(after) == list(parameters) and all(after[name] is one for name, one in parameters.items())
        assert all(one.dtype == value[name].dtype and torch.equal(one, value[name]) for name, one in after.items())


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_text_encoder_in_half_precision_gives_nearly_the_same(family):
    clip, found = tiny_models.clip(family), []
    for dtype in (torch.float32, torch.bfloat16):
        with differentiable(clip.patcher, dtype=dtype):
            text = DifferentiableText(clip, 2, dtype=dtype)
            word = text.towers.word("person")
            mapper = StageMapper(word, Stages(), 2, widths=text.towers.widths)
            vectors = mapper.at(torch.tensor([500, 700]))
            start = (word + word.std() * noise(2, 2, len(word))).requires_grad_()
            encoding = text.encode(["a photo of {}", "{} at sea"], replace(vectors, keys=start, values=start))
            assert encoding.keys.dtype == torch.float32
            (encoding.keys * noise(*encoding.keys.shape, seed=1)).sum().backward()
            found.append((encoding.keys.detach(), start.grad))
    (one, gradient), (other, slanted) = found
    assert not torch.equal(one, other)
    assert torch.cosine_similarity(one, other, dim=-1).min() > 0.999
    assert torch.cosine_similarity(gradient.flatten(), slanted.flatten(), dim=0) > 0.98
