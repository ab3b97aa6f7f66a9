"""The flow painter is the host's, small enough, and somebody is learned in it: a transformer of Z-Image's kind."""

import random

import pytest
import torch
from likeness import measured

from miniworld import flow_checkpoint, qwen, workflow
from miniworld.measuring.subjects import subject
from miniworld.painting import paint_each
from miniworld.training.dataset import plan
from miniworld.training.qwen_encoder import QwenEncoder, Tokenizer
from miniworld.training.train_qwen import split
from miniworld.words.captions import caption

PERSON = subject(9, "demo")
# How much more alike than with the plain word, where the persona does reach the sampler; see test_likeness.
RISE = 0.3


@pytest.fixture(scope="module")
def clip():
    return flow_checkpoint.load()[1]


def test_tokens_are_the_hosts(clip):
    tokenizer, chance = Tokenizer(clip), random.Random(0)
    for scene, names in map(plan, range(40)):
        said = caption(scene, chance, names)
        [theirs] = clip.tokenize(said)["qwen3_4b"]
        assert tokenizer.ids(split(said))[0] == [token for token, _ in theirs], said


def test_the_context_is_what_it_was_trained_with(clip):
    encoder = QwenEncoder.loaded(qwen.build_clip(), flow_checkpoint.tensors())
    for said in ("a photo of Emma in a garden", "a cat , a dog", "a word that no caption has: quark"):
        [[(context, _)]] = [clip.encode_from_tokens_scheduled(clip.tokenize(said))]
        [pairs] = clip.tokenize(said)["qwen3_4b"]
        ours = encoder(torch.tensor([[token for token, _ in pairs]]))
        torch.testing.assert_close(ours, context, atol=1e-4, rtol=1e-3)


def test_the_host_paints_with_it_and_its_file_is_small():
    pictures = paint_each(*flow_checkpoint.load(), ["a photo of Emma", "a cat"], steps=2)
    assert pictures.shape == (2, 3, 128, 128) and pictures.isfinite().all()
    assert flow_checkpoint.FILE.stat().st_size < 16e6


def test_the_pictures_show_the_person_of_the_photo(painter):
    """Learned and painted by the server, as in the UNet painter."""
    prompt = workflow.learn_and_paint(*workflow.upload(painter, PERSON, "flow"), KSampler={"steps": 10})
    [loader] = [node for node in prompt.values() if node["class_type"] == "MiniWorldLoader"]
    loader["class_type"] = "MiniWorldFlowLoader"
    workflow.learner(prompt)["name"] = "flow"
    plain, learned = (
        measured(painter, prompt, word, PERSON, every=2) for word in (workflow.WORD, workflow.PLACEHOLDER)
    )
    assert learned[0] > plain[0] + RISE
