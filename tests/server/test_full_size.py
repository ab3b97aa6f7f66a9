"""What takes gigabytes of memory: the real SD1.5 architecture, and a CLIP vision encoder."""

import pytest
import torch
from prompts import find, only, pictures, workflow

from persona_core.persona import Persona
from tools import random_checkpoint
from tools.random_weights import Noise

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "learner"), [("learn_and_generate", "PersonaLearn"), ("face_wise_kv_tokens", "PersonaKVTokens")]
)
def test_the_full_architecture_learns_and_paints(server, name, learner):
    random_checkpoint.build(server.base / "models/checkpoints/random_full.ckpt", "full")
    changes = {
        "CheckpointLoaderSimple": {"ckpt_name": "random_full.ckpt"},
        learner: {"name": f"full_{name}", "steps": 2},
    }
    prompt = workflow(name, changes)
    run = server.run(prompt)
    assert run.status == "success", run.error
    assert pictures(server, run, find(prompt, "SaveImage"))[0].std() > 5


def vision_encoder(path, width=1024, layers=24):
    """A ViT-L/14 that CLIPVisionLoader accepts, of shared random numbers."""
    noise, one, zero = Noise(0), torch.ones(1).half(), torch.zeros(1).half()
    sd = {
        "vision_model.embeddings.class_embedding": noise(width, 1, std=0.02)[:, 0],
        "vision_model.embeddings.patch_embedding.weight": noise(width, 3, 14, 14, std=0.02),
        "vision_model.embeddings.position_embedding.weight": noise(257, width, std=0.02),
        "visual_projection.weight": noise(768, width, std=0.03),
    }
    shapes = {
        "self_attn.q_proj": (width, width),
        "self_attn.k_proj": (width, width),
        "self_attn.v_proj": (width, width),
    }
    shapes |= {"self_attn.out_proj": (width, width), "mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)}
    norms = ["pre_layrnorm", "post_layernorm"]
    for layer in (f"encoder.layers.{index}" for index in range(layers)):
        norms += [f"{layer}.layer_norm1", f"{layer}.layer_norm2"]
        for name, shape in shapes.items():
            sd[f"vision_model.{layer}.{name}.weight"] = noise(*shape, std=0.02)
            sd[f"vision_model.{layer}.{name}.bias"] = zero.expand(shape[0])
    for name in norms:
        sd |= {f"vision_model.{name}.weight": one.expand(width), f"vision_model.{name}.bias": zero.expand(width)}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(sd, path)


def test_a_clip_vision_encoder_feeds_the_bypass_and_is_not_kept(server):
    vision_encoder(server.base / "models/clip_vision/random_vitl.ckpt")
    saved = {}
    for name in ("with_vision", "without_vision"):
        prompt = workflow(changes={"PersonaLearn": {"name": name}})
        if name == "with_vision":
            prompt["vision"] = {"class_type": "CLIPVisionLoader", "inputs": {"clip_name": "random_vitl.ckpt"}}
            prompt[find(prompt, "PersonaLearn")]["inputs"]["clip_vision"] = ["vision", 0]
        run = server.run(only(prompt, "PersonaLearn"))
        assert run.status == "success", run.error
        path = server.base / f"models/personas/{name}.safetensors"
        assert path.stat().st_size <= 3_000_000
        saved[name] = Persona.load(path)
    one, other = (saved[name].representation.state_dict() for name in saved)
    assert one.keys() == other.keys() and all(one[key].shape == other[key].shape for key in one)
    assert not torch.equal(one["bypass.0.bias"], other["bypass.0.bias"])
    assert saved["with_vision"].fingerprint != saved["without_vision"].fingerprint
