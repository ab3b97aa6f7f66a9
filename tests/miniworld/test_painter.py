"""The painter is the host's, and small enough."""

import random
import subprocess
import sys

import pytest
import torch

from miniworld import checkpoint, text, unet, vae
from miniworld.packing import pack, unpack
from miniworld.painting import paint
from miniworld.splits import named
from miniworld.training import diffusion, learning, reading
from miniworld.training.dataset import plan
from miniworld.training.text_encoder import TextEncoder, Tokenizer
from miniworld.training.train_text import Captions
from miniworld.words.captions import caption
from tools.environment import PACK


@pytest.fixture(scope="module")
def clip():
    return text.build_clip()


@pytest.fixture(scope="module")
def encoder(clip):
    return TextEncoder(clip, Tokenizer(clip).used(300))


def test_tokens_are_the_hosts(clip):
    tokenizer, chance = Tokenizer(clip), random.Random(0)
    for scene, names in map(plan, range(40)):
        said = caption(scene, chance, names)
        theirs = [token for token, _ in clip.tokenize(said)["l"][0]]
        assert tokenizer.rows([tokenizer.ids(said)])[0].tolist() == theirs, said


def test_names_are_of_one_or_two_tokens(clip):
    tokenizer = Tokenizer(clip)
    counts = [len(tokenizer.ids(name)) for name in named()[0]]
    assert counts.count(1) == 330 and counts.count(2) == 670


def test_context_is_the_hosts(clip, encoder):
    text.load_text(clip, encoder.tensors())
    tokenizer = Tokenizer(clip)
    for said in ("a photo of Emma in a garden", "", "a word that no caption has: quark"):
        ours = encoder(tokenizer.rows([tokenizer.ids(said)]))
        theirs = clip.encode_from_tokens_scheduled(clip.tokenize(said))[0][0]
        assert torch.allclose(ours, theirs, atol=1e-4), said


def test_words_are_as_long_as_clips(encoder):
    assert encoder.words().norm(dim=-1).mean().item() == pytest.approx(0.39, abs=1e-4)


def test_names_are_found_in_captions(clip):
    tokenizer = Tokenizer(clip)
    scenes, names = zip(*map(plan, range(200)))
    some = Captions(tokenizer, scenes, names, random.Random(1))
    assert len(some.ends) == sum(name is not None for who in names for name in who)
    for row, slot, token in some.ends.tolist():
        assert some.tokens[row, token] == tokenizer.ids(names[row][slot])[-1]


def test_labels_say_who_it_is():
    scenes = [plan(index)[0] for index in range(60)]
    labels = reading.Labels(scenes)
    assert (labels.look[:, 0, 0] != reading.NOBODY).all()
    for row, scene in enumerate(scenes):
        for slot, figure in enumerate(scene.figures):
            assert (~labels.numbers[row, slot].isnan()).sum() == (
                33 if labels.look[row, slot, 0] == reading.CAT else 52
            )
            assert (labels.who[row, slot] >= 0).sum() == 8 == len(figure.who.choices())


def test_packed_weights_are_nearly_the_same():
    weight = torch.randn(40, 30, 3, 3)
    found = unpack(pack({"a": weight, "b": weight[:, 0, 0, 0]}))
    assert (found["a"] - weight).std() < 0.015 and torch.allclose(found["b"], weight[:, 0, 0, 0], atol=2e-3)


def test_host_paints(tmp_path, encoder):
    """Saved, loaded and sampled by the host, with first weights."""
    model = unet.build_model().model.diffusion_model
    diffusion.start(model)
    encoded = vae.build()
    learning.start(encoded, 0)
    vae.save(encoded, tmp_path / "vae.safetensors", {"scale": 0.5})
    checkpoint.save(tmp_path / "painter.safetensors", model.state_dict(), encoder.tensors(), {"step": 0})
    parts = checkpoint.load(tmp_path / "painter.safetensors", tmp_path / "vae.safetensors")
    assert parts[0].model.latent_format.scale_factor == 0.5
    pictures = paint(*parts, ["a photo of Emma", "a cat"], steps=2)
    assert pictures.shape == (2, 3, 128, 128) and pictures.isfinite().all()
    latents = parts[2].encode(pictures.movedim(1, -1))
    assert latents.shape == (2, 4, 16, 16)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 24e6 - 4.4e6  # the instruments' share


def test_loading_the_node_imports_nothing_of_training():
    code = "from tools import host_modules\nimport sys, miniworld.loader\nprint(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], cwd=PACK, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    loaded = {name.split(".")[1] for name in ended.stdout.split() if name.startswith("miniworld.")}
    flow = {"flow_checkpoint", "qwen", "transformer"}
    assert loaded == {"loader", "checkpoint", "packing", "text", "unet", "vae"} | flow


def test_velocity_begins_with_nothing_of_the_picture():
    schedule = diffusion.Schedule(unet.build_model())
    latents, noise = torch.ones(2, 4, 16, 16), torch.zeros(2, 4, 16, 16)
    noisy, velocity = schedule.noisy(latents, noise, torch.tensor([0, 999]))
    assert noisy[0].mean() > 0.99 and noisy[1].abs().max() < 1e-3 and velocity[1].mean() < -0.99
