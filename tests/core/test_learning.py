"""What chance decides in a step, and how presets and their settings combine."""

from dataclasses import replace
from itertools import combinations
from types import SimpleNamespace

import pytest
import torch

from persona_core.batch import sample_batch
from persona_core.kv_tokens import TokenExpander
from persona_core.loss_scale import LossScale
from persona_core.mapper import StageMapper
from persona_core.noise import DiffusionSchedule
from persona_core.passes import forward
from persona_core.progress import LossNotFinite
from persona_core.recipes import DEFAULT, PRESETS, Beginning, KVTokensRecipe, StageMapperRecipe, settings_of
from persona_core.representation import TokenVectors
from persona_core.stages import Stages
from persona_core.task import Objective, References, RichPrompts, TextEncoding, TrainingSettings, TrainingTask
from persona_core.training import train

STAGES, SCHEDULE = Stages(400, 800), DiffusionSchedule(torch.linspace(1, 0, 1000))
REFERENCES = References(torch.zeros(3, 4, 2, 2), torch.ones(3, 1, 2, 2))
OBJECTIVE = Objective({}, ["a {}", "the {}", "one {}"], ["{} reads", "{} runs"])


MAPPER = StageMapper(torch.ones(8), STAGES)


def task(objective=OBJECTIVE, learned=MAPPER, text=None, denoiser=None, **settings):
    return TrainingTask(learned, REFERENCES, text, denoiser, objective, TrainingSettings(**settings))


def drawn(index=0, objective=OBJECTIVE, learned=MAPPER, schedule=SCHEDULE, **settings):
    return sample_batch(task(objective, learned, denoiser=SimpleNamespace(schedule=schedule), **settings), index)


def test_each_timestep_of_the_stage_is_as_likely():
    seen = torch.stack([drawn(index, batch_size=3).t for index in range(5000)]) - 400
    counts = torch.bincount(seen.flatten(), minlength=401)
    assert len(counts) == 401 and counts.min() > 10 and counts.max() < 90  # 37 each, on average
    for row in seen.T:
        quarters = torch.histc(row.float(), 4, 0, 401)
        assert quarters.min() > 1150 and quarters.max() < 1350  # whatever the other rows have


@pytest.mark.parametrize("pairs", [1, 3, 5])
def test_timesteps_of_kv_tokens_are_even_over_all_whatever_the_row(pairs):
    learned = TokenExpander(torch.ones(8), pairs)
    seen = torch.stack([drawn(index, learned=learned, batch_size=5).t for index in range(2000)])
    for row in seen.T:
        counts = torch.histc(row.float(), 20, 0, 1000)
        assert counts.min() > 60 and counts.max() < 140  # 100 each, on average


@pytest.mark.parametrize("recipe", [StageMapperRecipe, KVTokensRecipe])
def test_every_seed_starts_with_the_same_weights(recipe):
    one, other = (
        recipe(learning=TrainingSettings(seed=seed)).representation(Beginning(torch.ones(8))).state_dict()
        for seed in (0, 5)
    )
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("rows, examples", [(2, [0, 1]), (3, [0, 1, 2]), (4, [0, 0, 1, 1]), (5, [0, 0, 1, 1, 2])])
@pytest.mark.parametrize("learned", [TokenExpander(torch.ones(8), 5), MAPPER])
def test_from_four_rows_on_two_of_kv_tokens_are_one_example_under_noises_of_their_own(learned, rows, examples):
    examples = list(range(rows)) if learned is MAPPER else examples
    steps = [drawn(index, learned=learned, batch_size=rows) for index in range(99)]
    drawn_once = {name: [getattr(step, name).tolist() for step in steps] for name in ("picture", "t", "keep_bypass")}
    drawn_once["prompts"] = [step.prompts for step in steps]
    for name, values in drawn_once.items():
        for one, other in combinations(range(rows), 2):
            alike = all(row[one] == row[other] for row in values)
            assert alike == (examples[one] == examples[other]), (name, one, other)
    assert all(len(step.noise.flatten(1).unique(dim=0)) == rows for step in steps)


class Reads:
    """A text encoder and a denoiser: a context is the sum of the prompt's letters and of the vectors."""

    schedule = SCHEDULE

    def __init__(self):
        self.read = []

    def encode(self, prompts, vectors, rich=()):
        self.read.append(len(prompts))
        letters = torch.tensor([[float(sum(map(ord, prompt)))] for prompt in prompts])
        keys, values = (letters + side.sum((1, 2))[:, None] for side in (vectors.keys, vectors.values))
        if vectors.bypass is not None:
            values = values + vectors.bypass.sum((1, 2))[:, None]
        rich = RichPrompts(letters, letters, [letters])
        return TextEncoding(keys[..., None], values[..., None], letters, -letters, rich, 2 * letters)

    def predict(self, noisy, t, keys, values, pooled=None):
        return noisy * (keys + 2 * values + 3 * pooled[..., None])[..., None]


@pytest.mark.parametrize(
    "rows, micro_batch, reads",
    [(4, None, [2]), (5, None, [3]), (5, 4, [2, 1]), (6, 3, [1] * 3), (4, 1, [1] * 4), (3, 2, [2, 1]), (1, None, [1])],
)
def test_an_example_is_read_once_and_each_of_its_rows_gets_it(rows, micro_batch, reads):
    """With a bypass that depends on the picture, and so does not fit what another row is of."""
    learned, stub, seen = StageMapper(torch.ones(8), STAGES, 2, torch.eye(3)), Reads(), []
    learned.noise_multiplicity = 2
    torch.manual_seed(2)
    for parameter in learned.parameters():
        torch.nn.init.normal_(parameter)

    def term(step):
        seen.append((step.encoding, step.prediction.detach()))
        return 0 * step.prediction.sum()

    asked = task(Objective({"noise": term}, OBJECTIVE.prompts), learned, stub, stub, batch_size=rows, steps=1)
    train(asked, micro_batch=micro_batch)
    assert stub.read == reads
    draws = sample_batch(asked, 0)
    alone = stub.encode(draws.prompts, learned.at(draws.t, draws.picture).keep_bypass(draws.keep_bypass))
    letters, keys, values = alone.persona, alone.keys[..., 0], alone.values[..., 0]
    expected = {"keys": keys[..., None], "values": values[..., None], "persona": letters, "words": -letters}
    for name, tensor in expected.items():
        torch.testing.assert_close(torch.cat([getattr(encoding, name) for encoding, _ in seen]), tensor)
    noisy = (1 - stub.schedule.alphas_cumprod[draws.t]).sqrt()[:, None, None, None] * draws.noise
    prediction = noisy * (keys + 2 * values + 6 * letters)[..., None, None]
    torch.testing.assert_close(torch.cat([one for _, one in seen]), prediction)


def test_a_text_encoder_on_another_device_than_the_denoiser_is_no_matter():
    """As where the host keeps it on the CPU."""
    elsewhere = torch.device("meta")
    references = References(*(tensor.to(elsewhere) for tensor in (REFERENCES.latents, REFERENCES.masks)))
    vectors = TokenVectors(torch.ones(2, 1, 8), torch.ones(2, 1, 8))
    learned = SimpleNamespace(stages=STAGES, noise_multiplicity=1, at=lambda t, picture: vectors)
    denoiser = Reads()
    denoiser.schedule = DiffusionSchedule(denoiser.schedule.alphas_cumprod.to(elsewhere))
    asked = TrainingTask(learned, references, Reads(), denoiser, OBJECTIVE, TrainingSettings())
    step = forward(asked, sample_batch(asked, 0))
    encoding, rich = step.encoding, step.encoding.rich
    shown = [encoding.keys, encoding.values, encoding.persona, encoding.words, encoding.pooled]
    shown += [rich.persona, rich.words, *rich.attentions, step.prediction, step.target, step.mask]
    assert {tensor.device for tensor in shown} == {elsewhere}


def learned_with(scale, term=lambda step: step.prediction.square().mean()):
    learned = StageMapper(torch.ones(8), STAGES, 1)
    asked = task(Objective({"noise": term}, OBJECTIVE.prompts), learned, Reads(), Reads(), steps=3, learning_rate=0.1)
    asked = replace(asked, references=replace(REFERENCES, latents=torch.randn(3, 4, 2, 2)))
    return train(asked, scale=scale), learned.state_dict()


def test_a_step_that_overflows_in_fp16_is_taken_with_a_smaller_scale():
    torch.manual_seed(0)
    (plain, expected), *_ = learned_with(None), torch.manual_seed(0)
    scaled, found = learned_with(LossScale(value=2.0**126))
    assert scaled.losses == plain.losses and scaled.step == 3
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


def test_what_no_scale_makes_finite_stops_learning():
    with pytest.raises(LossNotFinite, match="gradient is not finite .* step 1"):
        learned_with(LossScale(), lambda step: (0 * step.prediction).sqrt().sum())


def test_draws_are_those_of_seed_and_step_and_no_others():
    one, same = drawn(3, seed=1), drawn(3, seed=1)
    assert torch.equal(one.noise, same.noise) and one.prompts == same.prompts and torch.equal(one.t, same.t)
    for other in (drawn(4, seed=1), drawn(3, seed=2)):
        assert not torch.equal(one.noise, other.noise)


def test_half_of_the_bypasses_are_kept():
    kept = torch.cat([drawn(index, batch_size=4).keep_bypass for index in range(200)])
    assert 320 < kept.sum() < 480
    assert not drawn(bypass_dropout=1.0).keep_bypass.any() and drawn(bypass_dropout=0.0).keep_bypass.all()


def test_one_rich_prompt_goes_with_a_step_of_any_size_and_with_all_its_parts():
    for rows in (1, 2, 5):
        draws = drawn(batch_size=rows)
        assert len(draws.rich) == 1 and draws.rich_t.shape == (1,) and 400 <= int(draws.rich_t) <= 800
    assert not drawn(objective=Objective({}, ["a {}"])).rich
    parts = list(draws.split(2))
    assert [len(part.t) for part in parts] == [2, 2, 1]
    assert all(part.rich == draws.rich and torch.equal(part.rich_t, draws.rich_t) for part in parts)
    for name in ("picture", "t", "noise", "keep_bypass"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(draws, name)), name
    assert [prompt for part in parts for prompt in part.prompts] == draws.prompts


def test_a_falling_rate_falls_evenly_to_nothing():
    steady, falling = TrainingSettings(10, 0.5), TrainingSettings(10, 0.5, decay=True)
    assert {steady.learning_rate_at(index) for index in range(10)} == {0.5}
    assert [falling.learning_rate_at(index) for index in range(10)] == pytest.approx(
        [0.5 - 0.05 * index for index in range(10)]
    )


def test_a_rate_that_warms_up_rises_evenly_and_then_is_the_usual_one():
    for usual in (TrainingSettings(10, 0.5), TrainingSettings(10, 0.5, decay=True)):
        warm = replace(usual, warmup=4)
        shares = [warm.learning_rate_at(index) / usual.learning_rate_at(index) for index in range(10)]
        assert shares == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1])


def test_published_is_the_papers_recipe():
    assert PRESETS["published"] == TrainingSettings(1000, 1e-4, 2)  # section 4.1
    quick = PRESETS["quick"]
    assert quick.steps * quick.batch_size <= 60
    assert DEFAULT == "auto" and PRESETS[DEFAULT].measured


@pytest.mark.parametrize("preset", PRESETS)
def test_what_is_not_zero_comes_before_the_preset(preset):
    chosen = settings_of(preset, seed=7)
    assert chosen == replace(PRESETS[preset], seed=7)
    assert settings_of(preset, 0, steps=5).steps == 5 and settings_of(preset, 0, batch_size=3).batch_size == 3
    usual = PRESETS["balanced"] if preset == "auto" else chosen  # nothing is left to measure
    for steps in (1, 3, 12, 30, 500):
        part = min(1, steps / usual.steps)
        assert settings_of(preset, 0, steps=steps).warmup == int(part * usual.warmup)
    own = settings_of(preset, 0, steps=1000, learning_rate=1e-4, batch_size=2)
    assert own == replace(usual, steps=1000, learning_rate=1e-4, batch_size=2, seed=0)
