"""Learning with the host's models: it learns, only the representation, the same each time, interrupted or not."""

from dataclasses import replace

import comfy.model_management
import comfy.sample
import pytest
import tiny_models
import torch
from comfy_extras.nodes_freelunch import FreeU
from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete
from jobs import learned, tensors
from safetensors.torch import load_file, save_file

from persona_core.host.apply.encoding import apply_to_clip
from persona_core.host.apply.sampling import TABLE
from persona_core.host.clip import UnsupportedModel
from persona_core.host.learn.autograd import differentiable
from persona_core.host.learn.denoiser import FrozenDenoiser
from persona_core.host.learn.latents import encode, size_multiple
from persona_core.host.learn.text import DifferentiableText
from persona_core.host.learn.unfinished import load_progress
from persona_core.host.model import check_models, check_persona
from persona_core.losses import TandemEquilibrium, masked_diffusion_loss
from persona_core.mapper import StageMapper
from persona_core.noise import add_noise
from persona_core.photos import Photo, size_for
from persona_core.progress import LossNotFinite
from persona_core.prompts import PHOTO_PROMPTS, RICH_PROMPTS
from persona_core.recipes import MEASURED, KVTokensRecipe, StageMapperRecipe
from persona_core.stages import Stages
from persona_core.table import AppliedPersona
from persona_core.task import Objective, References, TrainingSettings, TrainingTask
from persona_core.training import train


def same(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


def with_steps(job, steps, **changes):
    return replace(job, recipe=replace(job.recipe, learning=replace(job.recipe.learning, steps=steps, **changes)))


def held_out_loss(job, persona, samples=24):
    """The masked loss [samples] on timesteps, noise and a prompt that learning was not given."""
    latents, masks = encode(job.model, job.vae, job.photos)
    with differentiable(job.model, job.clip.patcher), torch.no_grad():
        denoiser, text = FrozenDenoiser(job.model), DifferentiableText(job.clip, persona.representation.tokens)
        generator, losses = torch.Generator().manual_seed(987654), []
        for _ in range(samples):
            t = torch.randint(400, 801, (1,), generator=generator)
            noise = torch.randn(latents.shape, generator=generator)
            encoding = text.encode(["a picture of one {}"], persona.representation.at(t))
            noisy = add_noise(denoiser.schedule, latents, noise, t)
            output = denoiser.predict(noisy, t, encoding.keys, encoding.values)
            losses.append((masks * (output - noise) ** 2).sum() / (masks.sum() * latents.shape[1]))
    return torch.stack(losses)


def test_learning_lowers_the_masked_loss_it_was_not_given(job, tmp_path):
    start = learned(with_steps(job, 1, learning_rate=1e-9), tmp_path, name="start")
    end = learned(with_steps(job, 150, learning_rate=2e-3), tmp_path, name="end")
    before, after = held_out_loss(job, start), held_out_loss(job, end)
    # A UNet of random weights hardly listens to its text, so there is little to gain: it gains 1.5 %.
    assert after.mean() < 0.99 * before.mean() and (after < before).float().mean() > 0.7
    assert sum(end.losses["noise"][-30:]) < sum(end.losses["noise"][:30])


def test_a_persona_says_how_much_of_a_picture_was_signal_and_how_hard_each_loss_pulled(job, tmp_path):
    recipe = replace(job.recipe, learning=replace(MEASURED, steps=6), te_weight=0.5, attention_weight=3e-3)
    told = learned(replace(job, recipe=recipe), tmp_path).settings
    assert told["steps"] == 6 and 0 <= told["signal to noise of one picture"] < 1
    assert told["directions of chance"] >= 1
    pulls = {name: told[f"pull of the {name} loss, the photo's being 1"] for name in ("equilibrium", "attention")}
    assert all(0 < pull < 1e3 for pull in pulls.values())
    tenth = replace(recipe, te_weight=0.05)
    less = learned(replace(job, recipe=tenth), tmp_path, name="tenth").settings
    ratio = less["pull of the equilibrium loss, the photo's being 1"] / pulls["equilibrium"]
    assert ratio == pytest.approx(0.1, rel=0.02)


def test_only_the_representation_gets_a_gradient(job):
    latents, masks = encode(job.model, job.vae, job.photos)
    with differentiable(job.model, job.clip.patcher):
        denoiser, text = FrozenDenoiser(job.model), DifferentiableText(job.clip, 4)
        word = text.towers.word("face")
        mapper = StageMapper(word, Stages())
        terms = {"noise": masked_diffusion_loss, "equilibrium": TandemEquilibrium(1.0)}
        references = References(latents.clone(), masks.clone())
        objective = Objective(terms, PHOTO_PROMPTS, RICH_PROMPTS)
        settings = TrainingSettings(3, 1e-3, bypass_dropout=0.0)
        train(TrainingTask(mapper, references, text, denoiser, objective, settings))
        assert all(p.grad is not None for p in mapper.parameters())
        assert (
            mapper.head.weight.grad.any() and mapper.bypass_head.weight.grad.any() and mapper.anchors.weight.grad.any()
        )
        for frozen in (job.model.model, job.clip.cond_stage_model, job.vae.first_stage_model):
            assert all(p.grad is None for p in frozen.parameters())


def test_the_models_are_as_they_were(job, tmp_path):
    def picture():
        prompts = [job.clip.encode_from_tokens_scheduled(job.clip.tokenize(text)) for text in ("a photo of a face", "")]
        noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        return comfy.sample.sample(
            job.model, noise, 3, 4.0, "euler", "normal", *prompts, torch.zeros_like(noise), seed=0
        )

    parts = job.model.model, job.clip.cond_stage_model, job.vae.first_stage_model
    before, weights = picture(), [{k: v.clone() for k, v in part.state_dict().items()} for part in parts]

    class Stop(Exception):
        pass

    def stop(progress):
        if progress.step == 2:
            raise Stop

    with pytest.raises(Stop):
        learned(job, tmp_path, stop, "stopped")
    learned(job, tmp_path)
    assert all(same(was, part.state_dict()) for was, part in zip(weights, parts, strict=True))
    assert torch.equal(before, picture())
    assert torch.is_inference_mode_enabled() and not torch.are_deterministic_algorithms_enabled()


def test_the_same_seed_is_the_same_persona_and_another_is_another(job, tmp_path):
    one, two = (tensors(learned(job, tmp_path, name=name)) for name in "ab")
    other = tensors(learned(with_steps(job, 6, seed=6), tmp_path, name="c"))
    assert same(one, two) and not same(one, other)


@pytest.mark.parametrize("at", [1, 3, 6])
def test_an_interrupted_run_goes_on_to_the_same_persona(job, tmp_path, at):
    whole = learned(job, tmp_path, name="whole")

    def interrupt(progress):
        if progress.step == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learned(job, tmp_path, interrupt)
    assert load_progress(tmp_path / "run.partial", job.fingerprint()).step == at
    steps = []
    resumed = learned(job, tmp_path, lambda progress: steps.append(progress.step))
    assert steps == list(range(at + 1, 7)) and same(tensors(whole), tensors(resumed))
    assert resumed.losses == whole.losses


def test_unfinished_learning_of_other_inputs_is_not_gone_on_with(job, tmp_path):
    learned(job, tmp_path)
    path = tmp_path / "run.partial"
    assert load_progress(path, job.fingerprint()) and load_progress(path, "another") is None
    tensors, metadata = load_file(path), {"fingerprint": job.fingerprint(), "losses": '{"noise": [0.1]}'}
    save_file(tensors, path, metadata)  # as the first release wrote it, with other parameters
    assert load_progress(path, job.fingerprint()) is None
    path.write_bytes(b"broken")
    assert load_progress(path, job.fingerprint()) is None


def test_a_loss_that_is_not_finite_stops_with_advice(job, tmp_path):
    with pytest.raises(LossNotFinite, match="noise loss became (nan|inf) at step 1.*lower learning rate"):
        learned(replace(job, photos=[Photo(job.photos[0].image * torch.inf, job.photos[0].mask)]), tmp_path)


def test_rows_of_a_batch_have_their_own_timestep_and_vectors(job):
    """The published code mixes them: row b's loss must depend on row b's vectors alone."""
    latents, _ = encode(job.model, job.vae, job.photos)
    with differentiable(job.model, job.clip.patcher):
        denoiser, text = FrozenDenoiser(job.model), DifferentiableText(job.clip, 4)
        mapper = StageMapper(text.towers.word("face"), Stages())
        t = torch.tensor([420, 600, 790])
        vectors = mapper.at(t)
        keys = vectors.keys.detach().requires_grad_()
        encoding = text.encode(list(PHOTO_PROMPTS[:3]), replace(vectors, keys=keys, values=keys))
        output = denoiser.predict(latents.clone().expand(3, -1, -1, -1), t, encoding.keys, encoding.values)
        output[1].square().sum().backward()
        assert keys.grad[1].abs().sum() > 0 and not keys.grad[0].any() and not keys.grad[2].any()


@pytest.mark.parametrize("kind", ["velocity", "fp16", "fp16 cast", "bf16"])
@pytest.mark.parametrize("recipe", [StageMapperRecipe(attention_weight=3e-3), KVTokensRecipe(supercategory="face")])
def test_other_models_learn_too(job, tmp_path, kind, recipe):
    made = {
        "velocity": lambda: tiny_models.model(velocity=True),
        "fp16": lambda: tiny_models.model(dtype=torch.float16),  # with loss scaling
        "fp16 cast": lambda: tiny_models.model(dtype=torch.float16, cast=torch.float32),
        "bf16": lambda: tiny_models.model(dtype=torch.bfloat16),
    }[kind]()
    recipe = replace(recipe, resolution=64, learning=job.recipe.learning)
    representation = learned(replace(job, model=made, recipe=recipe), tmp_path).representation
    assert all(value.dtype == torch.float32 for value in representation.state_dict().values())
    t = torch.tensor([500.0])
    assert (representation.at(t).keys != representation.word).any(-1).all()


def test_several_photos_and_an_image_encoder(job, tmp_path):
    photos = [job.photos[0], job.photos[0].mirrored()]
    persona = learned(replace(job, photos=photos, image_embeddings=torch.randn(2, 16)), tmp_path)
    assert persona.representation.image_embeddings is None and persona.representation.bypass[0].in_features == 128
    assert persona.save(tmp_path / "p.safetensors").stat().st_size < 3_000_000


def test_a_persona_depends_on_all_that_its_fingerprint_names(job):
    base = job.fingerprint()
    photo, recipe = job.photos[0], job.recipe
    nudged = photo.image.clone()
    nudged[0, 0, 0] += 0.1
    other_model = tiny_models.model()
    with torch.no_grad():
        next(other_model.model.parameters()).mul_(1.5)
    zsnr, velocity = (ModelSamplingDiscrete().patch(job.model, "v_prediction", flag)[0] for flag in (True, False))
    freeu = [FreeU().patch(job.model, b1, 1.2, 0.9, 0.2)[0] for b1 in (1.1, 1.3)]
    lora = job.model.clone()
    key = next(k for k in lora.model.state_dict() if k.endswith("attn2.to_k.weight"))
    lora.add_patches({key: ("diff", (torch.ones_like(lora.model.state_dict()[key]),))}, 0.5)
    changed = [
        replace(job, photos=[Photo(nudged, photo.mask)]),
        replace(job, photos=[Photo(photo.image, photo.mask.flip(0) * 0.5)]),
        replace(job, recipe=replace(recipe, te_weight=0.5)),
        replace(job, recipe=replace(recipe, stages=Stages(300, 800))),
        with_steps(job, 7),
        replace(job, model=other_model),
        replace(job, model=lora),
        replace(job, image_embeddings=torch.ones(1, 4)),
        *(replace(job, model=model) for model in (zsnr, velocity, *freeu)),
    ]
    prints = [other.fingerprint() for other in changed]
    assert len({base, *prints}) == len(changed) + 1
    assert replace(job, name="bob").fingerprint() == base
    comfy.model_management.load_models_gpu([lora])  # patched weights now lie on the shared module
    comfy.model_management.load_models_gpu([zsnr])  # and so does another noise schedule
    assert job.fingerprint() == base
    assert replace(job, model=lora).fingerprint() == prints[6]


def test_weights_that_a_checkpoint_lacks_do_not_change_the_fingerprint(job):
    """SD1.5 files carry no text projection, so the host leaves it as whatever was in memory."""
    before = job.fingerprint()
    with torch.no_grad():
        job.clip.cond_stage_model.clip_l.transformer.text_projection.weight.fill_(float("nan"))
    assert job.fingerprint() == before
    with torch.no_grad():
        job.clip.cond_stage_model.clip_l.transformer.text_model.final_layer_norm.weight.mul_(2)
    assert job.fingerprint() != before


def test_a_v_prediction_node_on_an_epsilon_model_is_learned_as_it_samples(job, tmp_path):
    model = ModelSamplingDiscrete().patch(job.model, "v_prediction", False)[0]
    assert FrozenDenoiser(model).schedule.velocity and not FrozenDenoiser(job.model).schedule.velocity


def test_a_model_with_few_timesteps_is_refused(job):
    model = ModelSamplingDiscrete().patch(job.model, "lcm", False)[0]
    with pytest.raises(UnsupportedModel, match="1000 timesteps.*without ModelSampling nodes such as LCM"):
        check_models(model, job.clip, job.vae, job.recipe)


def test_a_vae_of_another_family_is_refused(job):
    job.vae.latent_channels = 16  # as that of SD3 or Flux
    with pytest.raises(UnsupportedModel, match="latents of 16 channels, but this MODEL takes 4"):
        check_models(job.model, job.clip, job.vae, job.recipe)


def test_a_model_of_another_kind_is_refused_for_learning_and_for_painting(job, ann):
    other = tiny_models.flux()
    with pytest.raises(UnsupportedModel, match="this MODEL is Flux"):
        check_models(other, job.clip, job.vae, job.recipe)
    with pytest.raises(UnsupportedModel, match="this MODEL is Flux"):
        check_persona(other, ann)


def test_sd2s_text_encoder_learns(job, tmp_path):
    """OpenCLIP-H: its context is the last layer but one."""
    clip = tiny_models.clip("sd2")
    persona = learned(replace(job, clip=clip), tmp_path)
    assert persona.family == "custom (clip_h, 64 wide)" and persona.losses["noise"]
    applied = apply_to_clip(clip, AppliedPersona(persona), "<ann>")
    context, extra = applied.encode_from_tokens_scheduled(applied.tokenize("a photo of <ann>"))[0]
    assert torch.equal(context, clip.encode_from_tokens_scheduled(clip.tokenize("a photo of face"))[0][0])
    with differentiable(clip.patcher), torch.no_grad():
        vectors = persona.representation.at(torch.tensor([600.0]))
        ours = DifferentiableText(clip, 4).encode(["a photo of {}"], vectors)
    for one, other in zip(extra[TABLE].at(600), (ours.keys, ours.values), strict=True):
        torch.testing.assert_close(one, other, atol=3e-5, rtol=1e-4)


def test_pictures_are_sized_for_the_unets_lowest_level(job):
    cell = size_multiple(job.model, job.vae)
    assert cell == 8 * 4  # the VAE's eighth, two halvings of the tiny UNet
    assert size_for(300, 400, 512, 64) == (448, 576) and size_for(10, 4000, 128, 64) == (64, 2560)
