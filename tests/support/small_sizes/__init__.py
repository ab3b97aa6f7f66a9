"""A node pack for tests: a server that also takes Z-Image in the sizes of z_image_files.py.

What is in a file, hosts tell by the names in it, but of some layers they know the size by heart. Those are said here.
"""

import comfy.sd
import comfy.supported_models
from comfy.text_encoders import llama

NODE_CLASS_MAPPINGS = {}
QWEN = dict(
    hidden_size=64, intermediate_size=128, num_hidden_layers=4, num_attention_heads=2, num_key_value_heads=1
)  # fmt: skip
NORM = "model.layers.0.post_attention_layernorm.weight"  # newer hosts tell Qwen's sizes apart by its width


class ZImage(comfy.supported_models.ZImage):
    unet_config = {"image_model": "lumina2", "dim": 256}
    unet_extra_config = dict(
        n_heads=4, n_kv_heads=4, axes_dims=[16, 24, 24], axes_lens=[1536, 512, 512], rope_theta=256.0,
        ffn_dim_multiplier=1.0, z_image_modulation=True, time_scale=1000.0, pad_tokens_multiple=32,
    )  # fmt: skip


def smaller(config, **sizes):
    return lambda **others: config(**{**sizes, **others})


def detect_te_model(state_dict, detect=comfy.sd.detect_te_model):
    if NORM in state_dict and len(state_dict[NORM]) == QWEN["hidden_size"]:
        state_dict = {**state_dict, NORM: state_dict[NORM].new_empty(2560)}
    return detect(state_dict)


comfy.supported_models.models.insert(0, ZImage)
llama.Qwen3_4BConfig = smaller(llama.Qwen3_4BConfig, **QWEN)
comfy.sd.detect_te_model = detect_te_model
