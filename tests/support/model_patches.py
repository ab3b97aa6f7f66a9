"""What newer hosts have instead of a ControlNet for flow-matching transformers: small networks that a MODEL carries."""

import comfy.model_management
import comfy.ops
import safetensors.torch
import tiny_models
import torch
from comfy.model_patcher import ModelPatcher
from comfy_extras import nodes_model_patch
from neighbours import noise, serve

# Which node makes a MODEL follow a picture, by the family.
NODES = {"z_image": "ZImageFunControlnet", "anima": "AnimaLLLiteApply"}
HAVE = [family for family, node in NODES.items() if hasattr(nodes_model_patch, node)]
TARGETS = "self_attn_q_proj", "self_attn_k_proj", "self_attn_v_proj", "cross_attn_q_proj", "mlp_layer1"


def controlled(family: str, folder, monkeypatch):
    """A function that makes a MODEL follow a picture: (MODEL, strength, seed of the picture) -> MODEL."""
    made = fun_controlnet() if family == "z_image" else lllite(folder, monkeypatch)

    def control(model, strength=1.0, seed=3):
        image = noise(1, 64, 64, 3, seed=seed).sigmoid()
        if family == "z_image":
            node = nodes_model_patch.ZImageFunControlnet()
            return node.diffsynth_controlnet(model, made, tiny_models.vae(), image, strength)[0]
        return nodes_model_patch.AnimaLLLiteApply().apply_patch(model, made, image, strength, 0.0, 1.0)[0]

    return control


def fun_controlnet() -> ModelPatcher:
    """Of the small Z-Image's width, for the first of its layers. The host's loader knows the real size only."""
    network = comfy.ldm.lumina.controlnet.ZImage_Control(
        dim=256, n_heads=4, n_kv_heads=4, ffn_dim_multiplier=1.0, n_control_layers=1, control_in_dim=4,
        operations=comfy.ops.manual_cast,
    )  # fmt: skip
    tiny_models.fill(network, 5)
    return ModelPatcher(
        network, comfy.model_management.get_torch_device(), comfy.model_management.unet_offload_device()
    )


def lllite(folder, monkeypatch) -> ModelPatcher:
    """For all layers of the small Anima, through the host's loader."""
    kind, computes = comfy.ldm.anima.lllite, {"operations": comfy.ops.manual_cast}
    parts = {"lllite_conditioning1": kind.AnimaLLLiteConditioning(3, 16, 16, 1, (1, 2), **computes)}
    for block in range(tiny_models.CROSS["num_blocks"]):
        for target in TARGETS:
            part = kind.AnimaLLLiteModule(tiny_models.CROSS["model_channels"], 16, 8, **computes)
            parts[f"lllite_dit_blocks_{block}_{target}"] = part
    network, file = torch.nn.ModuleDict(parts), folder / "lllite.safetensors"
    tiny_models.fill(network, 5)
    safetensors.torch.save_file(network.state_dict(), file, {"lllite.aspp_dilations": "1,2"})
    return nodes_model_patch.ModelPatchLoader().load_model_patch(serve(monkeypatch, "model_patches", file))[0]
