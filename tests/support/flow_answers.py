"""What the names of the contract that are of language models and flow-matching transformers should give."""

import torch
from comfy.ldm.modules import attention
from comfy.text_encoders import llama
from host_objects import Given

LLAMA, LUMINA, COSMOS = "comfy.text_encoders.llama:", "comfy.ldm.lumina.model:", "comfy.ldm.cosmos.predict2:"


def turned(given: Given) -> bool:
    config, x = given.language.config, torch.ones(1, 2, 3, 128)
    turns = llama.precompute_freqs_cis(
        config.head_dim, torch.arange(3)[None], config.rope_theta, config.rope_scale, config.rope_dims, device=x.device
    )
    query, key = llama.apply_rope(x, x, turns)
    return query.shape == x.shape and torch.equal(query[:, :, 0], x[:, :, 0]) and not torch.equal(key, x)


def language_states(given: Given) -> bool:
    x = torch.ones(1, 3, 64)
    last, earlier = given.language(None, torch.ones(1, 3, dtype=torch.long), embeds=x, intermediate_output=-2)[:2]
    return last.shape == earlier.shape == x.shape


def of_language_attention(given: Given) -> bool:
    language = given.language
    turns = llama.precompute_freqs_cis(
        language.config.head_dim, torch.arange(3)[None], language.config.rope_theta, None, None
    )
    how = dict(attention_mask=None, freqs_cis=turns, optimized_attention=attention.attention_pytorch)
    found = language.layers[0].self_attn(torch.ones(1, 3, 64), **how)
    return (found[0] if isinstance(found, tuple) else found).shape == (1, 3, 64)


# What a name gives, by the name.
FLOW_GIVES = {
    "comfy.text_encoders.z_image:ZImageTokenizer.llama_template": lambda g: g.language_clip.tokenizer.llama_template.count("{}") == 1,
    LLAMA + "Qwen3_4B.model": lambda g: isinstance(g.language, llama.Llama2_),
    LLAMA + "Qwen3_4B.get_input_embeddings": lambda g: g.language_clip.cond_stage_model.qwen3_4b.transformer.get_input_embeddings()(
        torch.tensor([[1]]), out_dtype=torch.float32
    ).shape
    == (1, 1, 64),
    LLAMA + "Llama2_.forward": language_states,
    LLAMA + "Llama2_.layers": lambda g: {type(one) for one in g.language.layers} == {llama.TransformerBlock},
    LLAMA + "Llama2_.norm": lambda g: g.language.norm(torch.ones(1, 64)).shape == (1, 64),
    LLAMA + "Llama2_.config": lambda g: g.language.config.head_dim == 128 and g.language.config.rope_theta > 0,
    LLAMA + "TransformerBlock.input_layernorm": lambda g: g.language.layers[0].input_layernorm(torch.ones(1, 64)).shape == (1, 64),
    LLAMA + "TransformerBlock.post_attention_layernorm": lambda g: g.language.layers[0].post_attention_layernorm(torch.ones(1, 64)).shape
    == (1, 64),
    LLAMA + "TransformerBlock.mlp": lambda g: g.language.layers[0].mlp(torch.ones(1, 64)).shape == (1, 64),
    LLAMA + "TransformerBlock.self_attn": lambda g: isinstance(g.language.layers[0].self_attn, llama.Attention),
    LLAMA + "Attention.forward": of_language_attention,
    LLAMA + "Attention.q_norm": lambda g: g.language.layers[0].self_attn.q_norm(torch.ones(1, 128)).shape == (1, 128),
    LLAMA + "Attention.num_kv_heads": lambda g: g.language.layers[0].self_attn.num_kv_heads == 1,
    LLAMA + "precompute_freqs_cis": turned,
    LLAMA + "apply_rope": turned,
    LUMINA + "NextDiT.forward": lambda g: g.transformer(torch.zeros(1, 4, 8, 8), torch.zeros(1), torch.zeros(1, 5, 64), 5, transformer_options={}).shape
    == (1, 4, 8, 8),
    LUMINA + "NextDiT.layers": lambda g: {type(one).__name__ for one in g.transformer.layers} == {"JointTransformerBlock"},
    LUMINA + "NextDiT.patch_size": lambda g: g.transformer.patch_size == 2,
    LUMINA + "NextDiT.pad_tokens_multiple": lambda g: g.transformer.pad_tokens_multiple == 32,
    COSMOS + "MiniTrainDIT.forward": lambda g: g.cross_transformer(
        torch.zeros(1, 4, 1, 8, 8), torch.zeros(1), torch.zeros(1, 5, 64), transformer_options={}
    ).shape
    == (1, 4, 1, 8, 8),
    COSMOS + "MiniTrainDIT.blocks": lambda g: {type(one).__name__ for one in g.cross_transformer.blocks} == {"Block"},
    COSMOS + "MiniTrainDIT.patch_spatial": lambda g: g.cross_transformer.patch_spatial == 2,
    "comfy.latent_formats:LatentFormat.latent_dimensions": lambda g: [one.latent_format.latent_dimensions for one in (g.model, g.frames)] == [2, 3],
    "comfy.sd:VAE.latent_dim": lambda g: g.vae.latent_dim == 2,
    "comfy.model_sampling:ModelSamplingDiscreteFlow.timestep": lambda g: float(g.flow.model_sampling.timestep(torch.tensor(0.5))) == 0.5,
    "comfy.model_sampling:ModelSamplingDiscreteFlow.set_parameters": lambda g: g.flow.model_sampling.shift == 3.0,
}  # fmt: skip
