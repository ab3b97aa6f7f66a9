"""The host's frozen UNet: its output with gradient to separate contexts for K and V, and its attention.

Shapes: B rows, C x h x w latents, L tokens of the context, D its width.
"""

import math
from collections.abc import Callable, Sequence

import torch
from comfy.cli_args import args
from comfy.model_management import is_device_cpu
from comfy.model_patcher import ModelPatcher, create_model_options_clone
from comfy.model_sampling import V_PREDICTION
from torch import Tensor

from ...attention import shown_sizes, token_maps
from ...noise import DiffusionSchedule
from ...task import CrossAttention
from ..compat import with_own_weights
from ..model import check_supported, compute_dtype, cross_attention_blocks, predicts
from .attention import attention_for

PIXELS = 8  # of a picture to a side of its latents
WORTH_CASTING = 2**28  # bytes of weights: smaller models are not faster in bf16


class FrozenDenoiser:
    """`task.Denoiser` over a MODEL of the host. Raises UnsupportedModel for what is no such UNet.

    cells: of the latents, where they are few: attention may then be faster.
    """

    def __init__(self, patcher: ModelPatcher, cells: float = math.inf):
        check_supported(patcher)
        self.patcher, self.diffusion_model = patcher, patcher.model.diffusion_model
        sampling = patcher.get_model_object("model_sampling")
        self.dtype = compute_dtype(patcher)
        self.sigmas = sampling.sigmas.detach().clone()
        self.device = patcher.load_device
        alphas_cumprod = (1 / (self.sigmas**2 + 1)).to(self.device)
        self.schedule = DiffusionSchedule(alphas_cumprod, predicts(sampling, V_PREDICTION))
        self.attention = attention_for(self.device, self.dtype, cells)

    def predict(self, noisy: Tensor, t: Tensor, keys: Tensor, values: Tensor, pooled: Tensor | None = None) -> Tensor:
        """See `task.Denoiser`; computed in the host's precision for this model, returned in fp32."""
        return self.forward(noisy, t, keys, self.with_values(self.options(t), keys, values), pooled)

    def predict_watched(
        self, noisy: Tensor, t: Tensor, keys: Tensor, values: Tensor, reference: Tensor, pooled: Tensor | None = None
    ) -> tuple[Tensor, list[CrossAttention]]:
        """See `task.Denoiser`. The reference's keys come from the same pass: it is appended to the context."""
        options, layers = self.with_values(self.options(t), keys, values), {}
        reference, length = reference.to(self.device, self.dtype), keys.shape[1]
        # Last of the patches, so that others see the context that they know.
        options["patches"].setdefault("attn2_patch", []).append(lambda n, k, v, _: (n, torch.cat([k, reference], 1), v))

        def watched(block: tuple, original: Callable):
            def attend(query: Tensor, key: Tensor, value: Tensor, extra: dict) -> Tensor:
                heads, shape = extra["n_heads"], tuple(extra["activations_shape"][2:])
                key, beside = key[:, :-length], key[:, -length:]
                seen = CrossAttention(query, key[:, :length], beside, heads, shape, tuple(noisy.shape[-2:]))
                layers.setdefault(block, seen)  # not again when the backward pass computes a layer once more
                return original(query, key, value, extra)

            return attend

        replaced = options["patches_replace"].setdefault("attn2", {})
        for block in cross_attention_blocks(self.diffusion_model):
            replaced[block] = watched(block, replaced.get(block, replaced.get(block[:2], self.attend)))
        return self.forward(noisy, t, keys, options, pooled), list(layers.values())

    def with_values(self, options: dict, keys: Tensor, values: Tensor) -> dict:
        """Options of a pass whose V has a context of its own, if it has."""
        if values is not keys:
            values = values.to(self.device, self.dtype)
            options["patches"].setdefault("attn2_patch", []).append(lambda n, k, v, _: (n, k, values))
        return options

    @torch.no_grad()
    def attention_map(
        self,
        noisy: Tensor,
        t: Tensor,
        context: Tensor,
        tokens: Sequence[int],
        pooled: Tensor | None = None,
    ) -> Tensor:
        """Where tokens of the prompt look: cross-attention probabilities [B, h, w] of noisy latents [B, C, h, w].

        Mean over the tokens, over heads and over the layers of `attention.shown_sizes`, at the latent's size.
        """
        latent = tuple(noisy.shape[-2:])
        shown, maps = shown_sizes(latent), []

        def record(query: Tensor, key: Tensor, value: Tensor, extra: dict) -> Tensor:
            heads, shape = extra["n_heads"], tuple(extra["activations_shape"][2:])
            if shape in shown:
                maps.append(token_maps(query, key, heads, shape, latent)[:, tokens].mean(1))
            return self.attend(query, key, value, extra)

        options = self.options(t)
        options["patches_replace"]["attn2"] = dict.fromkeys(cross_attention_blocks(self.diffusion_model), record)
        self.forward(noisy, t, context, options, pooled)
        return torch.stack(maps).mean(0)

    def forward(self, noisy: Tensor, t: Tensor, context: Tensor, options: dict, pooled: Tensor | None) -> Tensor:
        """The UNet's output [B, C, h, w] in fp32, computed in the host's precision. context: [B, L, D].

        Beside it the UNet gets what the host gives when it paints a picture of this size from nothing: SDXL the size
        and the pooled text [B, E], in-painting models a mask of the whole picture.
        """
        given = {} if pooled is None else {"pooled_output": pooled}
        height, width = (PIXELS * side for side in noisy.shape[-2:])
        with torch.no_grad():
            conditions = self.patcher.model.extra_conds(
                noise=noisy, latent_image=noisy, device=self.device, width=width, height=height, **given
            )
        beside = {name: one.cond.to(self.device, self.dtype) for name, one in conditions.items()}
        noisy, context = (tensor.to(self.device, self.dtype) for tensor in (noisy, context))
        if "c_concat" in beside:
            noisy = torch.cat([noisy, beside.pop("c_concat")], 1)
        return self.diffusion_model(noisy, t.float(), context=context, transformer_options=options, **beside).float()

    def options(self, t: Tensor) -> dict:
        """Transformer options for one pass: the MODEL's own patches, and attention that has a backward."""
        return plain_options(self.patcher, self.attention) | {"sigmas": self.sigmas.to(self.device)[t]}

    def attend(self, query: Tensor, key: Tensor, value: Tensor, extra: dict) -> Tensor:
        """What a cross-attention layer does where nothing replaces it."""
        return self.attention(query, key, value, extra["n_heads"], attn_precision=extra.get("attn_precision"))


def plain_options(patcher: ModelPatcher, attention: Callable[..., Tensor]) -> dict:
    """Transformer options of a MODEL for a pass of its own, with lists that may be changed."""
    options = create_model_options_clone(patcher.model_options).get("transformer_options", {})
    patches = {name: list(functions) for name, functions in options.get("patches", {}).items()}
    replace = {name: dict(functions) for name, functions in options.get("patches_replace", {}).items()}
    return {
        **options,
        "patches": patches,
        "patches_replace": replace,
        "cond_or_uncond": [0],
        "uuids": [None],
        "optimized_attention_override": lambda hosts, *inputs, **named: attention(*inputs, **named),
    }


def model_for_learning(patcher: ModelPatcher) -> ModelPatcher:
    """A clone of a MODEL that computes as learning should: as the host does, but in bf16 on a CPU that multiplies in
    bf16 by itself, at least twice as fast as in the fp32 that the host uses there."""
    clone, device = with_own_weights(patcher, "MODEL"), patcher.load_device
    wanted = not (args.force_fp32 or args.fp32_unet) and compute_dtype(patcher) == torch.float32
    if wanted and is_device_cpu(device) and cpu_has_bf16() and patcher.model_size() > WORTH_CASTING:
        clone.set_model_compute_dtype(torch.bfloat16)
    return clone


def cpu_has_bf16() -> bool:
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def behaviour_of(patcher: ModelPatcher) -> tuple:
    """What a MODEL does beside its weights, for a fingerprint: precision, prediction, schedule, others' patches."""
    sampling = patcher.get_model_object("model_sampling")
    return (
        str(compute_dtype(patcher)),
        predicts(sampling, V_PREDICTION),
        sampling.sigmas,
        patcher.model_options.get("transformer_options", {}),
    )
