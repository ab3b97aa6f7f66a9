"""Tiny objects of the host, of which checks ask what its names give."""

import copy
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import tiny_models
import torch
from comfy import patcher_extension
from recording import encode, sample


class Given:
    """Tiny objects of the host, and what comes out of them, made when a check asks for it."""

    @cached_property
    def clip(self):
        return tiny_models.clip()

    @cached_property
    def tower(self):
        return self.clip.cond_stage_model.clip_l

    @cached_property
    def text(self):
        return self.tower.transformer.text_model

    @cached_property
    def layer(self):
        return self.text.encoder.layers[0]

    @cached_property
    def tokenizer(self):
        return self.clip.tokenizer.clip_l

    @cached_property
    def without_files(self):
        without = copy.copy(self.tokenizer)
        without.embedding_directory = []
        return without

    @cached_property
    def patcher(self):
        return tiny_models.model()

    @cached_property
    def model(self):
        return self.patcher.model

    @cached_property
    def unet(self):
        return self.model.diffusion_model

    @cached_property
    def language_clip(self):
        return tiny_models.clip("z_image")

    @cached_property
    def language(self):
        return self.language_clip.cond_stage_model.qwen3_4b.transformer.model

    @cached_property
    def flow(self):
        return tiny_models.z_image().model

    @cached_property
    def transformer(self):
        return self.flow.diffusion_model

    @cached_property
    def frames(self):
        return tiny_models.cross_transformer().model

    @cached_property
    def cross_transformer(self):
        return self.frames.diffusion_model

    @cached_property
    def vae(self):
        return tiny_models.vae()

    @cached_property
    def clip_vision(self):
        with TemporaryDirectory() as folder:
            return tiny_models.clip_vision(Path(folder))

    @cached_property
    def hidden(self):
        return torch.zeros(1, 77, 64)

    @cached_property
    def run(self):
        """The arguments of the wrappers of one run: {wrapper's type: [(what is wrapped, its arguments), ...]}, and
        those of an attention patch."""
        seen, patched = {"patches": []}, self.patcher.clone()
        for kind in (patcher_extension.WrappersMP.CALC_COND_BATCH, patcher_extension.WrappersMP.OUTER_SAMPLE):

            def wrapper(executor, *args, kind=kind, **kwargs):
                seen.setdefault(kind, []).append((executor, args))
                return executor(*args, **kwargs)

            patched.add_wrapper_with_key(kind, "contract", wrapper)
        patched.set_model_attn2_patch(lambda *given: (seen["patches"].append(given), given[:3])[1])
        sample(patched, encode(self.clip, "a tree"), encode(self.clip, ""), steps=1)
        return seen
