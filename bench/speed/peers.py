"""Two other trainers' loops, written with diffusers and transformers: textual inversion, and PersonaMagic as published.

Both learn from a photo that stays a photo: each step encodes it anew. Shapes: B rows, L tokens, D the text's width.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from torch import Tensor

from bench.stopwatch import seconds
from persona_core.host.learn.text import add_bypass
from persona_core.losses import persona_share
from persona_core.mapper import StageMapper
from persona_core.stages import Stages

from .peer_models import TEXT, VISION, Models

LATENT_SCALE = 0.18215


class TrainingJob:
    """What both loops are given. ids: [L] of a prompt. place: of its placeholder. photo: [1, 3, H, W] in -1..1."""

    def __init__(self, models: Models, ids: Tensor, place: int, photo: Tensor):
        self.models, self.ids, self.place, self.photo = models, ids, place, photo
        self.schedule = DDPMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000
        )

    def noised(self, vae: AutoencoderKL, rows: int, first: int, last: int) -> tuple[Tensor, Tensor, Tensor]:
        """The photo as noisy latents [B, 4, h, w], the noise, and the timesteps [B], from `first` to `last`."""
        with torch.no_grad():
            latents = vae.encode(self.photo.expand(rows, -1, -1, -1).to(vae.dtype)).latent_dist.sample() * LATENT_SCALE
        noise, t = torch.randn_like(latents), torch.randint(first, last + 1, (rows,), device=latents.device)
        return self.schedule.add_noise(latents, noise, t), noise, t


class TextualInversion:
    """As diffusers' example learns: a row of the text encoder's embeddings, while AdamW has all of them.

    On a GPU in mixed precision: UNet and autoencoder in fp16, the text encoder under autocast.
    """

    def __init__(self, job: TrainingJob, rows: int):
        self.job, self.rows, models = job, rows, job.models
        self.gpu = job.photo.is_cuda
        self.unet, self.vae, self.text = models.unet, models.vae, copy.deepcopy(models.text)
        if self.gpu:
            self.unet, self.vae = (copy.deepcopy(model).half() for model in (self.unet, self.vae))
        self.text.resize_token_embeddings(TEXT.vocab_size + 1, mean_resizing=False)
        self.table = self.text.get_input_embeddings().weight.requires_grad_()
        self.before = self.table.detach().clone()
        self.others = torch.arange(len(self.table), device=self.table.device) != TEXT.vocab_size
        self.ids = job.ids.clone()
        self.ids[job.place] = TEXT.vocab_size
        self.optimizer = torch.optim.AdamW([self.table], lr=5e-4, weight_decay=1e-2)
        self.scaler = torch.amp.GradScaler(job.photo.device.type, enabled=self.gpu)

    def step(self) -> float:
        return seconds(self.learn)

    def learn(self) -> None:
        noisy, noise, t = self.job.noised(self.vae, self.rows, 0, 999)
        with torch.autocast(noisy.device.type, torch.float16, enabled=self.gpu):
            context = self.text(self.ids.expand(self.rows, -1)).last_hidden_state
        prediction = self.unet(noisy, t, context.to(self.unet.dtype)).sample
        self.scaler.scale(F.mse_loss(prediction.float(), noise.float())).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        with torch.no_grad():  # weight decay moved the other words
            self.table[self.others] = self.before[self.others]


class ContextsForKAndV:
    """A processor of diffusers' cross-attention whose context [B, L, 2 D] holds one for K and one for V."""

    def __call__(self, attn, hidden_states: Tensor, encoder_hidden_states: Tensor, *_, **__) -> Tensor:
        keys, values = encoder_hidden_states.chunk(2, -1)
        parts = attn.to_q(hidden_states), attn.to_k(keys), attn.to_v(values)
        query, key, value = (part.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for part in parts)
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return attn.to_out[1](attn.to_out[0](mixed))


@contextmanager
def own_context_for_v(unet: UNet2DConditionModel) -> Iterator[None]:
    """Within, cross-attention is ContextsForKAndV. The other loop uses the same UNet."""
    usual = unet.attn_processors
    unet.set_attn_processor({name: ContextsForKAndV() if "attn2" in name else one for name, one in usual.items()})
    try:
        yield
    finally:
        unet.set_attn_processor(usual)


class Published:
    """PersonaMagic as published: batch 1, gradients of two rows added up, all in fp32."""

    ROWS, TOKENS, TE = 2, 4, 1e-3

    def __init__(self, job: TrainingJob):
        self.job, self.models, stages = job, job.models, Stages()
        self.stages = stages
        self.text = copy.deepcopy(job.models.text)
        self.text.set_attn_implementation("eager")  # the others do not tell their attention
        words = self.text.get_input_embeddings()
        device, word = job.photo.device, words.weight[job.ids[job.place]]
        images = torch.zeros(1, VISION.hidden_size, device=device)
        self.mapper = StageMapper(word, stages, self.TOKENS, images).to(device)
        self.optimizer = torch.optim.AdamW(self.mapper.parameters(), lr=1e-4, weight_decay=1e-2)
        start, ids = job.place, job.ids
        self.ids = torch.cat([ids[:start], ids[start].expand(self.TOKENS), ids[start + 1 :]])[None, : len(ids)]
        place = torch.arange(len(ids), device=device)[None]
        self.persona = (place >= start) & (place < start + self.TOKENS)
        self.words = (place > 0) & (place < start + self.TOKENS + 4) & ~self.persona
        self.vectors: Tensor | None = None
        words.register_forward_hook(
            lambda module, given, found: found.masked_scatter(self.persona[..., None], self.vectors)
        )

    def step(self) -> float:
        with own_context_for_v(self.models.unet):
            return seconds(self.learn)

    def learn(self) -> None:
        for _ in range(self.ROWS):
            (self.loss() / self.ROWS).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def loss(self) -> Tensor:
        """Of one row: noise in the mask, and Tandem Equilibrium of another prompt."""
        noisy, noise, t = self.job.noised(self.models.vae, 1, self.stages.t_lo, self.stages.t_hi)
        with torch.no_grad():
            small = F.interpolate(self.job.photo, (VISION.image_size,) * 2, mode="bicubic", antialias=True)
            self.mapper.image_embeddings = self.models.vision(small).pooler_output
        found = self.mapper.at(t, torch.zeros_like(t))
        self.vectors = found.keys
        keys = self.text(self.ids).last_hidden_state
        bypass = torch.zeros_like(keys).masked_scatter(self.persona[..., None], found.bypass)
        values = add_bypass(keys, bypass, self.persona)
        rich = self.text(self.ids, output_attentions=True).attentions[-1]
        share = persona_share(rich, self.persona, self.words)
        prediction = self.models.unet(noisy, t, torch.cat([keys, values], -1)).sample
        mask = torch.ones_like(noise)
        noise_loss = (mask * (noise - prediction) ** 2).sum() / mask.sum()
        return noise_loss - self.TE * (share * (1 - share)).mean()
