"""The small painter: MODEL, CLIP and VAE of the host's own classes, as one safetensors file.

It paints in the pixels themselves (three latent channels) and predicts the velocity, down to a signal of nothing
at t = 999: with SD's own schedule the first noise would choose the background, not the prompt.
"""

import json
import math
from pathlib import Path

import comfy.latent_formats
import comfy.model_management
import comfy.sd
import comfy.sd1_clip
import comfy.supported_models
import comfy.supported_models_base
import torch
from comfy.model_base import ModelType
from comfy.model_patcher import ModelPatcher
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

PAINTER = Path(__file__).with_name("miniworld.safetensors")
WIDTH = 96
TEXT = dict(
    hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=4, intermediate_size=2 * WIDTH, projection_dim=WIDTH
)
UNET = dict(
    image_size=32, in_channels=3, out_channels=3, model_channels=32, num_res_blocks=[1, 1, 1], channel_mult=[1, 2, 4],
    transformer_depth=[0, 1, 1], transformer_depth_output=[0, 0, 1, 1, 1, 1], transformer_depth_middle=1,
    context_dim=WIDTH, use_spatial_transformer=True, use_checkpoint=False, legacy=False,
    use_linear_in_transformer=False, adm_in_channels=None, use_temporal_attention=False, use_temporal_resblock=False,
)  # fmt: skip
WORDS = "clip_l.transformer.text_model.embeddings.token_embedding.weight"
UNUSED = "clip_l.transformer.text_projection.weight", "clip_l.logit_scale"


class Pixels(comfy.latent_formats.LatentFormat):
    """A latent is the picture, -1 to 1."""

    latent_channels = 3


class MiniWorld(comfy.supported_models.SD15):
    """An SD1.5 in small, but for what it paints in and what it predicts."""

    latent_format = Pixels
    sampling_settings = {"zsnr": True}

    def model_type(self, state_dict, prefix=""):
        return ModelType.V_PREDICTION


def build_model() -> ModelPatcher:
    config = MiniWorld(dict(UNET))
    config.unet_config |= {"num_heads": 4, "num_head_channels": -1}  # the constructor forces 8 heads
    config.set_inference_dtype(torch.float32, None)
    base = config.get_model({}, "", device=torch.device("cpu"))
    return ModelPatcher(base, comfy.model_management.get_torch_device(), comfy.model_management.unet_offload_device())


def build_clip(embeddings: str | None = None) -> comfy.sd.CLIP:
    target = comfy.supported_models_base.ClipTarget(comfy.sd1_clip.SD1Tokenizer, comfy.sd1_clip.SD1ClipModel)
    options = {"dtype": torch.float32, "clip_l_model_config": dict(TEXT)}
    return comfy.sd.CLIP(target, embedding_directory=embeddings, model_options=options)


def build_vae() -> comfy.sd.VAE:
    return comfy.sd.VAE(sd={"pixel_space_vae": torch.tensor(1.0)})


def unit_words(count: int, seed: int) -> Tensor:
    """Words before anything is learned: [count, WIDTH], each of length 1."""
    return nn.functional.normalize(torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed)), dim=-1)


@torch.no_grad()
def start(module: nn.Module, seed: int) -> None:
    """Seeded first weights: the host leaves them as they lay in memory. Each block begins by doing nothing."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in module.named_parameters():
        if name.endswith("token_embedding.weight"):
            weight.copy_(unit_words(len(weight), seed))
        elif name.endswith("position_embedding.weight"):
            weight.copy_(0.02 * torch.randn(weight.shape, generator=generator))
        elif weight.ndim >= 2:
            weight.copy_(torch.randn(weight.shape, generator=generator) / math.sqrt(weight[0].numel()))
        else:
            weight.fill_(1.0 if name.endswith("weight") else 0.0)
        if name.endswith(("out_layers.3.weight", "proj_out.weight")) or name == "out.2.weight":
            weight.zero_()


def word_ids(clip: comfy.sd.CLIP, words: list[str]) -> Tensor:
    """The tokens [n], ascending, that a text of these words can hold, with those of beginning and end."""
    tokenizer = clip.tokenizer.clip_l
    special = {tokenizer.start_token, tokenizer.end_token, tokenizer.pad_token}
    return torch.tensor(sorted(special.union(*(tokenizer.tokenizer(word)["input_ids"] for word in words))))


def save(path: Path, tensors: dict[str, Tensor], metadata: dict, dtype: torch.dtype = torch.float16) -> None:
    """One safetensors file. tensors: see `load`; metadata: what the training says of itself."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {
        key: (value.to(dtype) if value.is_floating_point() else value).contiguous() for key, value in tensors.items()
    }
    save_file(tensors, path, {"miniworld": json.dumps(metadata)})


def load(path: Path, embeddings: str | None = None) -> tuple[ModelPatcher, comfy.sd.CLIP, comfy.sd.VAE]:
    """MODEL, CLIP, VAE.

    The file holds "unet.*" and "clip_l.*" under the host's names; of the words only those that captions use, with
    their tokens under "words". All others are seeded, so that a prompt may hold any word.
    """
    with safe_open(path, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    tensors = {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}
    model, clip = build_model(), build_clip(embeddings)
    ids = tensors.pop("words")
    words = unit_words(49408, 0)
    words[ids] = tensors[WORDS]
    unet = {key.removeprefix("unet."): value for key, value in tensors.items() if key.startswith("unet.")}
    text = {key: value for key, value in tensors.items() if key.startswith("clip_l.")} | {WORDS: words}
    model.model.diffusion_model.load_state_dict(unet)
    missing, unexpected = clip.cond_stage_model.load_state_dict(text, strict=False)
    if unexpected or set(missing) - set(UNUSED):
        raise ValueError(f"{path} does not fit this version of the small world: {missing} {unexpected}")
    clip.cond_stage_model.clip_l.transformer.text_projection.weight.data.copy_(torch.eye(WIDTH))
    return model, clip, build_vae()


def metadata(path: Path) -> dict:
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["miniworld"])
