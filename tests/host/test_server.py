"""The server itself: it takes the pack, and it paints with the random checkpoint."""

import io

import numpy as np
import pytest
from PIL import Image

from tools import random_checkpoint
from tools.comfy_server import PromptRefused

CHECKPOINT = "random_sd15.ckpt"


def picture_prompt(checkpoint: str = CHECKPOINT, size: int = 64, seed: int = 1, title: str = "a") -> dict:
    """Text to image with nodes of ComfyUI's own; a new title makes the server save again."""

    def text(words):
        return {"class_type": "CLIPTextEncode", "inputs": {"clip": ["loader", 1], "text": words}}

    return {
        "loader": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": checkpoint}},
        "positive": text("a photo of a woman on a beach"),
        "negative": text("blurry"),
        "latent": {"class_type": "EmptyLatentImage", "inputs": {"width": size, "height": size, "batch_size": 1}},
        "sampler": {
            "class_type": "KSampler",
            "inputs": {
                "model": ["loader", 0],
                "positive": ["positive", 0],
                "negative": ["negative", 0],
                "latent_image": ["latent", 0],
                "seed": seed,
                "steps": 4,
                "cfg": 5.0,
                "sampler_name": "euler",
                "scheduler": "normal",
                "denoise": 1.0,
            },
        },
        "decode": {"class_type": "VAEDecode", "inputs": {"samples": ["sampler", 0], "vae": ["loader", 2]}},
        "save": {"class_type": "SaveImage", "inputs": {"images": ["decode", 0], "filename_prefix": title}},
    }


def paint(server, prompt: dict) -> np.ndarray:
    run = server.run(prompt)
    assert run.status == "success", run.error
    [file] = run.outputs["save"]["images"]
    return np.asarray(Image.open(io.BytesIO(server.view(file)))) / 255


def assert_looks_like_a_picture(pixels: np.ndarray) -> None:
    assert 0.1 < pixels.mean() < 0.9
    assert pixels.std() > 0.05
    assert np.mean((pixels == 0) | (pixels == 1)) < 0.5


def test_the_pack_is_loaded(server):
    log = server.log.read_text()
    assert "(IMPORT FAILED)" not in log, log  # so it is said of packs, not of the host's own nodes
    assert "ComfyUI-Persona" in log
    assert any(node["python_module"] == "custom_nodes.ComfyUI-Persona" for node in server.object_info().values())


@pytest.mark.parametrize("size", [64, 128])
def test_the_random_checkpoint_paints(server, size):
    pixels = paint(server, picture_prompt(size=size, title=f"size_{size}"))
    assert pixels.shape == (size, size, 3)
    assert_looks_like_a_picture(pixels)


def test_same_seed_same_picture_other_seed_another(server):
    first = paint(server, picture_prompt(seed=5, title="first"))
    other = paint(server, picture_prompt(seed=6, title="other"))
    again = paint(server, picture_prompt(seed=5, title="again"))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_cached_and_executed_nodes_are_told_apart(server):
    server.run(picture_prompt(seed=9, title="cache"))
    run = server.run(picture_prompt(seed=10, title="cache"))
    assert {"loader", "positive", "negative", "latent"} <= set(run.cached)
    assert set(run.executed) == {"sampler", "decode", "save"}


def test_an_invalid_prompt_is_refused_with_its_reason(server):
    with pytest.raises(PromptRefused, match="absent.ckpt") as refusal:
        server.submit(picture_prompt("absent.ckpt"))
    assert "loader" in refusal.value.node_errors


def test_interrupt_ends_a_run(server):
    prompt = picture_prompt(seed=11, title="interrupted")
    prompt["sampler"]["inputs"]["steps"] = 1000

    def interrupt_at_first_step(kind, data):
        if kind == "progress":
            server.interrupt(data["prompt_id"])

    run = server.run(prompt, interrupt_at_first_step)
    assert run.status == "interrupted"
    assert paint(server, picture_prompt(seed=12, title="after")).shape == (64, 64, 3)


@pytest.mark.slow
def test_the_full_size_architecture_paints(server):
    random_checkpoint.build(server.base / "models/checkpoints/random_full.ckpt", "full")
    for size in (64, 128):
        assert_looks_like_a_picture(paint(server, picture_prompt("random_full.ckpt", size, title="full")))


def test_one_seed_one_checkpoint(tmp_path):
    a, b, c = (
        random_checkpoint.build(tmp_path / f"{name}.ckpt", seed=seed).read_bytes()
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert a == b
    assert a != c
    assert len(a) < 5_000_000
