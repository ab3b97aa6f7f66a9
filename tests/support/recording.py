"""The host's sampler run small, and what its UNet was really given."""

import comfy.sample
import torch

from persona_core.host.adapter import IDS, WEIGHTS, adapted


def encode(clip, text):
    return clip.encode_from_tokens_scheduled(clip.tokenize(text))


def encode_one(clip, text):
    """The text's only conditioning: its context and the dict beside it."""
    return encode(clip, text)[0]


def sample(
    model,
    positive,
    negative,
    *,
    sampler="euler",
    scheduler="normal",
    steps=5,
    cfg=5.0,
    batch=1,
    size=8,
    denoise=1.0,
    channels=4,
    **more,
):
    frames = [1] * (model.model.latent_format.latent_dimensions - 2)
    noise = torch.randn(batch, channels, *frames, size, size, generator=torch.Generator().manual_seed(0))
    return comfy.sample.sample(
        model,
        noise,
        steps,
        cfg,
        sampler,
        scheduler,
        positive,
        negative,
        torch.zeros_like(noise),
        denoise=denoise,
        seed=0,
        **more,
    )


def at_the_layers(model, context, extra):
    """What a model's layers are to get of a context [1, L, D] of the text encoder with that dict beside it."""
    with torch.inference_mode():
        tokens = context.as_subclass(torch.Tensor)
        tokens = tokens[:, tokens[0].any(-1)]
        return adapted(model.model, tokens, extra[IDS], extra[WEIGHTS]) if IDS in extra else tokens


# Of layers that look at the text: what makes K and V of it, in UNets and in transformers.
SIDES = {"attn2.to_k": "k", "attn2.to_v": "v", "cross_attn.k_proj": "k", "cross_attn.v_proj": "v"}


class Recorder:
    """What the UNet's cross-attentions were really given.

    passes: each {"t" in 0..999, or 1000 where a flow begins, "rows" of cond_or_uncond, "size" of the latent, "y" (what
    SDXL takes), and of every layer what "k" and "v" are made of}.
    """

    def __init__(self, model):
        unet, self.passes = model.model.diffusion_model, []
        self.hooks = [unet.register_forward_pre_hook(self.begin, with_kwargs=True)]
        if hasattr(unet, "cap_embedder"):  # text and picture attend jointly: all of a text comes in here
            self.hooks.append(unet.cap_embedder.register_forward_pre_hook(self.whole))
        for name, module in unet.named_modules():
            side = SIDES.get(".".join(name.split(".")[-2:])) if "llm_adapter" not in name else None
            if side:
                self.hooks.append(
                    module.register_forward_hook(
                        lambda m, inputs, output, side=side: self.passes[-1][side].append(inputs[0].clone())
                    )
                )

    def close(self):
        for hook in self.hooks:
            hook.remove()

    def whole(self, module, inputs):
        for side in "kv":
            self.passes[-1][side].append(inputs[0].clone())

    def begin(self, module, args, kwargs):
        rows = kwargs["transformer_options"]["cond_or_uncond"]
        is_flow = hasattr(module, "cap_embedder") or hasattr(module, "llm_adapter")
        t = float(args[1][0]) * (1000 if is_flow else 1)
        given = {"t": t, "rows": rows, "size": tuple(args[0].shape[-2:]), "y": kwargs.get("y")}
        self.passes.append({**given, "k": [], "v": []})
