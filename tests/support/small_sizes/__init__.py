"""A node pack for tests: a server that also takes Z-Image and Anima as small as z_image_files.py and anima_files.py.

What is in a file, hosts tell by the names in it, but of some layers they know the size by heart. Those are said here.
"""

import sys
from functools import partial

import comfy.sd
import comfy.supported_models
from comfy.text_encoders import llama

NODE_CLASS_MAPPINGS = {}
NORM = "model.layers.0.post_attention_layernorm.weight"  # newer hosts tell Qwen's sizes apart by its width
WIDTHS = {64: 2560, 96: 1024}
QWEN = dict(intermediate_size=128, num_hidden_layers=4, num_attention_heads=2, num_key_value_heads=1)


class ZImage(comfy.supported_models.ZImage):
    unet_config = {"image_model": "lumina2", "dim": 256}
    unet_extra_config = dict(
        n_heads=4, n_kv_heads=4, axes_dims=[16, 24, 24], axes_lens=[1536, 512, 512], rope_theta=256.0,
        ffn_dim_multiplier=1.0, z_image_modulation=True, time_scale=1000.0, pad_tokens_multiple=32,
    )  # fmt: skip


def smaller(config, **sizes):
    return lambda **others: config(**{**sizes, **others})


def detect_te_model(state_dict, detect=comfy.sd.detect_te_model):
    width = WIDTHS.get(len(state_dict.get(NORM, ())))
    return detect({**state_dict, NORM: state_dict[NORM].new_empty(width)} if width else state_dict)


comfy.sd.detect_te_model = detect_te_model
comfy.supported_models.models.insert(0, ZImage)
llama.Qwen3_4BConfig = smaller(llama.Qwen3_4BConfig, hidden_size=64, **QWEN)

if anima := sys.modules.get("comfy.ldm.anima.model"):  # of newer hosts

    class Anima(comfy.supported_models.Anima):
        unet_config = {"image_model": "anima", "model_channels": 256}
        unet_extra_config = dict(num_heads=4, crossattn_emb_channels=96)

    sizes = dict(source_dim=96, target_dim=96, model_dim=96, num_layers=2, num_heads=2)
    anima.LLMAdapter = partial(anima.LLMAdapter, **sizes)
    comfy.supported_models.models.insert(0, Anima)
    llama.Qwen3_06BConfig = smaller(llama.Qwen3_06BConfig, hidden_size=96, **QWEN)
