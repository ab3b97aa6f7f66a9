"""What the names of the contract should give: a check of each, on tiny objects of the host."""

import inspect
import os
import tempfile
from pathlib import Path

import comfy.conds
import comfy.hooks
import comfy.latent_formats
import comfy.model_management
import comfy.model_patcher
import comfy.model_sampling
import comfy.sample
import comfy.samplers
import comfy.sd
import comfy.utils
import folder_paths
import pytest
import server
import tiny_models
import torch
from comfy import cli_args, clip_model, patcher_extension
from comfy.ldm.modules import attention
from comfy.ldm.modules.diffusionmodules import openaimodel
from comfy_api.latest import io, ui
from flow_answers import FLOW_GIVES
from host_objects import Given
from recording import encode, sample
from torch import Tensor, nn


def numbers(*values) -> bool:
    return all(isinstance(value, (int, float)) and value >= 0 for value in values)


def pairs(sections) -> bool:
    return all(isinstance(pair, tuple) and len(pair) >= 2 for section in sections for pair in section)


def attended(function) -> bool:
    q, apart = torch.ones(1, 6, 8), torch.ones(1, 2, 6, 4)
    return function(q, q, q, 2).shape == q.shape == function(apart, apart, apart, 2, skip_reshape=True).shape


def of_step(given: Given) -> bool:
    [(executor, args), *_] = given.run[patcher_extension.WrappersMP.CALC_COND_BATCH]
    model, conds, x, timestep, options = args
    cond = conds[0][0]
    known = "c_crossattn" in cond["model_conds"] and {"uuid", "model_conds", "cross_attn"} <= cond.keys()
    return known and model is given.model and len(x) == len(timestep) == 1 and "transformer_options" in options


def of_patch(given: Given) -> bool:
    """The attention patch that writes V, which no name of the host is for."""
    query, keys, values, extra = given.run["patches"][0]
    told = {"uuids", "cond_or_uncond", "sigmas", "block", "block_index", "n_heads", "activations_shape"}
    return (
        keys.shape == values.shape
        and keys.shape[-1] == 64
        and len(query) % len(extra["uuids"]) == 0
        and told <= extra.keys()
    )


def of_run(given: Given) -> bool:
    executor, (noise, latents, _, sigmas, *_) = given.run[patcher_extension.WrappersMP.OUTER_SAMPLE][0]
    return noise.shape == latents.shape == (1, 4, 8, 8) and len(sigmas) == 2 and sigmas[-1] == 0


def whole_and_there(given: Given) -> bool:
    clone, there = given.patcher.clone(), torch.device("cpu")
    model = clone.patch_model(device_to=there)
    clone.unpatch_model(there)
    return model is clone.model


def of_layer(clip) -> bool:
    """What CLIP Set Last Layer does to an encoder."""
    clip.clip_layer(-2)
    encode(clip, "a tree")
    return (clip.cond_stage_model.clip_l.layer, clip.cond_stage_model.clip_l.layer_idx) == ("hidden", -2)


MODEL, OPENAI, ATTENTION = (
    "comfy.model_base:BaseModel.",
    "comfy.ldm.modules.diffusionmodules.openaimodel:",
    "comfy.ldm.modules.attention:",
)


TOKENIZER, CLIP_MODEL, PATCHER = "comfy.sd1_clip:SDTokenizer.", "comfy.clip_model:", "comfy.model_patcher:ModelPatcher."


MEMORY, VAE, SD1, FOLDERS = "comfy.model_management:", "comfy.sd:VAE.", "comfy.sd1_clip:", "folder_paths:"


VISION = "comfy.clip_vision:ClipVisionModel."


def executing_context():
    from comfy_execution.utils import CurrentNodeContext, get_executing_context

    with CurrentNodeContext(prompt_id="p", node_id="n", list_index=0):
        return get_executing_context()


def hidden_of_output_node() -> set:
    schema = io.Schema(node_id="Output", is_output_node=True)
    schema.finalize()
    return set(schema.hidden)


def saved_as(prefix: str):
    with tempfile.TemporaryDirectory() as output:
        output = os.path.realpath(output)
        folder, name, number, subfolder, _ = folder_paths.get_save_image_path(prefix, output, 8, 4)
        return os.path.relpath(folder, output), name, number, subfolder


# What a name gives, by the name; of each that the contract says something of.
GIVES = {
    "comfy.sd:CLIP.clone": lambda g: (c := g.clip.clone()).patcher is not g.clip.patcher
    and (c.cond_stage_model, c.tokenizer) == (g.clip.cond_stage_model, g.clip.tokenizer),
    "comfy.sd:CLIP.patcher": lambda g: g.clip.patcher.model is g.clip.cond_stage_model,
    "comfy.sd:CLIP.cond_stage_model": lambda g: type(g.clip.cond_stage_model).__name__ == "SD1ClipModel",
    "comfy.sd:CLIP.tokenizer": lambda g: type(g.clip.tokenizer.clip_l).__name__ == "SDTokenizer",
    "comfy.sd:CLIP.layer_idx": lambda g: g.clip.layer_idx is None,
    "comfy.sd:CLIP.tokenize": lambda g: pairs(g.clip.tokenize("a tree")["l"]),
    "comfy.sd:CLIP.encode_from_tokens": lambda g: [len(one[0]) for one in g.clip.encode_from_tokens(
        g.clip.tokenize("a tree"), return_pooled=True
    )] == [77, 64],
    "comfy.sd:CLIP.encode_from_tokens_scheduled": lambda g: encode(g.clip, "a tree")[0][0].shape == (1, 77, 64),
    TOKENIZER + "tokenize_with_weights": lambda g: pairs(g.tokenizer.tokenize_with_weights("a tree", False)),
    TOKENIZER + "_try_get_embedding": lambda g: (a := g.without_files._try_get_embedding("none such"))[0] is None and a[-1] == "such",
    TOKENIZER + "tokenizer": lambda g: len(g.tokenizer.tokenizer("tree")["input_ids"]) == 3,
    TOKENIZER + "embedding_directory": lambda g: g.tokenizer.embedding_directory is None,
    TOKENIZER + "max_length": lambda g: g.tokenizer.max_length == 77,
    TOKENIZER + "start_token": lambda g: g.tokenizer.start_token == 49406,
    TOKENIZER + "end_token": lambda g: g.tokenizer.end_token == 49407,
    TOKENIZER + "pad_token": lambda g: g.tokenizer.pad_token == 49407,
    TOKENIZER + "inv_vocab": lambda g: g.tokenizer.inv_vocab[2677] == "tree</w>",
    SD1 + "SD1ClipModel.encode_token_weights": lambda g: g.clip.cond_stage_model.encode_token_weights(g.clip.tokenize("a"))[0].shape
    == (1, 77, 64),
    SD1 + "SD1ClipModel.clip": lambda g: g.clip.cond_stage_model.clip == "clip_l",
    SD1 + "SDClipModel.transformer": lambda g: isinstance(g.tower.transformer, clip_model.CLIPTextModel),
    SD1 + "SDClipModel.options_default": lambda g: len(g.tower.options_default) >= 2,
    SD1 + "SDClipModel.layer": lambda g: g.tower.layer == "last",
    SD1 + "SDClipModel.layer_idx": lambda g: of_layer(tiny_models.clip()),
    SD1 + "SDClipModel.num_layers": lambda g: g.tower.num_layers == 3,
    SD1 + "SDClipModel.layer_norm_hidden_state": lambda g: isinstance(g.tower.layer_norm_hidden_state, bool),
    "comfy.sdxl_clip:SDXLClipModel.encode_token_weights": lambda g: encode(tiny_models.clip("sdxl"), "a")[0][0].shape == (1, 77, 192),
    SD1 + "SDClipModel.return_projected_pooled": lambda g: g.tower.return_projected_pooled is False,
    CLIP_MODEL + "CLIPTextModel.text_projection": lambda g: g.tower.transformer.text_projection.weight.shape == (64, 64),
    CLIP_MODEL + "CLIPTextModel.text_model": lambda g: isinstance(g.text, clip_model.CLIPTextModel_),
    CLIP_MODEL + "CLIPTextModel.get_input_embeddings": lambda g: g.tower.transformer.get_input_embeddings()(
        torch.tensor([[1]]), out_dtype=torch.float32
    ).shape
    == (1, 1, 64),
    CLIP_MODEL + "CLIPTextModel_.embeddings": lambda g: g.text.embeddings.position_embedding.weight.shape == (77, 64),
    CLIP_MODEL + "CLIPTextModel_.encoder": lambda g: isinstance(g.text.encoder, clip_model.CLIPEncoder),
    CLIP_MODEL + "CLIPTextModel_.final_layer_norm": lambda g: isinstance(g.text.final_layer_norm, nn.LayerNorm),
    CLIP_MODEL + "CLIPEncoder.layers": lambda g: {type(one).__name__ for one in g.text.encoder.layers} == {"CLIPLayer"},
    CLIP_MODEL + "CLIPEncoder.forward": lambda g: len(g.text.encoder(g.hidden)) == 2 and g.text.encoder(g.hidden)[1] is None,
    CLIP_MODEL + "CLIPLayer.layer_norm1": lambda g: isinstance(g.layer.layer_norm1, nn.LayerNorm),
    CLIP_MODEL + "CLIPLayer.layer_norm2": lambda g: isinstance(g.layer.layer_norm2, nn.LayerNorm),
    CLIP_MODEL + "CLIPLayer.self_attn": lambda g: isinstance(g.layer.self_attn, clip_model.CLIPAttention),
    CLIP_MODEL + "CLIPLayer.mlp": lambda g: g.layer.mlp(g.hidden).shape == g.hidden.shape,
    CLIP_MODEL + "CLIPAttention.forward": lambda g: g.layer.self_attn(g.hidden, None, attention.attention_pytorch).shape == g.hidden.shape,
    CLIP_MODEL + "CLIPAttention.heads": lambda g: g.layer.self_attn.heads == 4,
    CLIP_MODEL + "CLIPAttention.q_proj": lambda g: isinstance(g.layer.self_attn.q_proj, nn.Linear),
    CLIP_MODEL + "CLIPAttention.k_proj": lambda g: isinstance(g.layer.self_attn.k_proj, nn.Linear),
    "comfy.samplers:CFGGuider.outer_sample": of_run,
    "comfy.samplers:CFGGuider.model_patcher": lambda g: comfy.samplers.CFGGuider(g.patcher).model_patcher is g.patcher,
    PATCHER + "clone": lambda g: (c := g.patcher.clone()) is not g.patcher and c.model is g.model,
    PATCHER + "model": lambda g: isinstance(g.patcher.model, comfy.model_base.BaseModel),
    PATCHER + "model_options": lambda g: "transformer_options" in g.patcher.model_options,
    PATCHER + "load_device": lambda g: isinstance(g.patcher.load_device, torch.device),
    PATCHER + "offload_device": lambda g: isinstance(g.patcher.offload_device, torch.device),
    PATCHER + "patches": lambda g: g.patcher.patches == {},
    PATCHER + "backup": lambda g: g.patcher.backup == {},
    PATCHER + "hook_backup": lambda g: g.patcher.hook_backup == {},
    PATCHER + "get_model_object": lambda g: g.patcher.get_model_object("diffusion_model") is g.unet,
    PATCHER + "patch_model": whole_and_there,
    PATCHER + "model_size": lambda g: g.patcher.model_size() >= sum(p.nbytes for p in g.unet.parameters()),
    PATCHER + "memory_required": lambda g: numbers(g.patcher.memory_required((1, 4, 8, 8))),
    "comfy.model_patcher:create_model_options_clone": lambda g: (o := {"transformer_options": {"patches": {"a": [1]}}})
    and comfy.model_patcher.create_model_options_clone(o)["transformer_options"]["patches"]["a"] is not o["transformer_options"]["patches"]["a"],
    MODEL + "diffusion_model": lambda g: isinstance(g.unet, openaimodel.UNetModel),
    MODEL + "current_patcher": lambda g: g.patcher.pre_run() or g.model.current_patcher is g.patcher,
    MODEL + "model_config": lambda g: g.model.model_config.unet_config["context_dim"] == 64,
    MODEL + "latent_format": lambda g: g.model.latent_format.latent_channels == 4,
    MODEL + "adm_channels": lambda g: g.model.adm_channels == 0,
    MODEL + "concat_keys": lambda g: len(g.model.concat_keys) == 0,
    MODEL + "manual_cast_dtype": lambda g: g.model.manual_cast_dtype is None,
    MODEL + "get_dtype": lambda g: g.model.get_dtype() == torch.float32,
    MODEL + "process_latent_in": lambda g: torch.allclose(g.model.process_latent_in(torch.ones(1)), torch.tensor(0.18215)),
    MODEL + "process_latent_out": lambda g: torch.allclose(g.model.process_latent_out(torch.tensor([0.18215])), torch.ones(1)),
    MODEL + "extra_conds": lambda g: tiny_models.model(sdxl=True)
    .model.extra_conds(noise=(z := torch.zeros(1, 4, 8, 8)), latent_image=z, device=z.device, width=64, height=64, pooled_output=torch.zeros(1, 128))["y"]
    .cond.shape
    == (1, 128 + 6 * 256),
    OPENAI + "UNetModel.forward": lambda g: g.unet(torch.zeros(1, 4, 8, 8), torch.zeros(1), context=g.hidden, transformer_options={}).shape
    == (1, 4, 8, 8),
    OPENAI + "UNetModel.in_channels": lambda g: g.unet.in_channels == 4,
    OPENAI + "UNetModel.input_blocks": lambda g: any(isinstance(one, attention.SpatialTransformer) for block in g.unet.input_blocks for one in block),
    OPENAI + "UNetModel.middle_block": lambda g: any(isinstance(one, openaimodel.ResBlock) for one in g.unet.middle_block),
    OPENAI + "UNetModel.output_blocks": lambda g: len(list(g.unet.output_blocks)) > 2,
    ATTENTION + "SpatialTransformer.transformer_blocks": lambda g: {
        type(one) for part in g.unet.modules() if isinstance(part, attention.SpatialTransformer) for one in part.transformer_blocks
    }
    == {attention.BasicTransformerBlock},
    ATTENTION + "attention_basic": lambda g: attended(attention.attention_basic),
    ATTENTION + "attention_pytorch": lambda g: attended(attention.attention_pytorch),
    ATTENTION + "optimized_attention": lambda g: attended(attention.optimized_attention),
    "comfy.model_sampling:ModelSamplingDiscrete.timestep": lambda g: float((s := g.model.model_sampling).timestep(s.sigmas[500:501])) == 500,
    "comfy.model_sampling:ModelSamplingDiscrete.set_sigmas": lambda g: len(g.model.model_sampling.sigmas)
    == len(comfy.model_sampling.ModelSamplingDiscrete().log_sigmas)
    == 1000,
    VAE + "encode": lambda g: g.vae.encode(torch.zeros(1, 64, 64, 3)).shape == (1, 4, 8, 8),
    VAE + "decode": lambda g: g.vae.decode(torch.zeros(1, 4, 8, 8)).shape == (1, 64, 64, 3),
    VAE + "memory_used_encode": lambda g: numbers(g.vae.memory_used_encode((1, 3, 64, 64), g.vae.vae_dtype)),
    VAE + "memory_used_decode": lambda g: numbers(g.vae.memory_used_decode((1, 4, 8, 8), g.vae.vae_dtype)),
    VAE + "vae_dtype": lambda g: isinstance(g.vae.vae_dtype, torch.dtype),
    VAE + "patcher": lambda g: isinstance(g.vae.patcher, comfy.model_patcher.ModelPatcher),
    VAE + "first_stage_model": lambda g: g.vae.first_stage_model is not None,
    VAE + "latent_channels": lambda g: g.vae.latent_channels == 4,
    VAE + "spacial_compression_encode": lambda g: g.vae.spacial_compression_encode() == 8,
    VISION + "encode_image": lambda g: g.clip_vision.encode_image(torch.zeros(2, 48, 40, 3))["image_embeds"].shape == (2, 16),
    VISION + "patcher": lambda g: isinstance(g.clip_vision.patcher, comfy.model_patcher.ModelPatcher),
    "comfy.patcher_extension:WrappersMP.CALC_COND_BATCH": of_step,
    "comfy.patcher_extension:WrappersMP.OUTER_SAMPLE": lambda g: of_patch(g)
    and isinstance(g.run[patcher_extension.WrappersMP.OUTER_SAMPLE][0][0].class_obj, comfy.samplers.CFGGuider),
    "comfy.samplers:calc_cond_batch": of_step,
    "comfy.samplers:CFGGuider.conds": lambda g: isinstance(comfy.samplers.CFGGuider(g.patcher).model_options, dict)
    and "self.conds = {}" in inspect.getsource(comfy.samplers.CFGGuider.sample),
    "comfy.samplers:CFGGuider.model_options": lambda g: "transformer_options" in comfy.samplers.CFGGuider(g.patcher).model_options,
    "comfy.samplers:KSampler.SAMPLERS": lambda g: "euler" in comfy.samplers.KSampler.SAMPLERS,
    "comfy.samplers:KSampler.SCHEDULERS": lambda g: "normal" in comfy.samplers.KSampler.SCHEDULERS,
    "comfy.conds:CONDRegular.cond": lambda g: isinstance(comfy.conds.CONDCrossAttn(g.hidden).cond, Tensor),
    "comfy.conds:CONDRegular._copy_with": lambda g: comfy.conds.CONDCrossAttn(None)._copy_with(g.hidden).cond is g.hidden,
    "comfy.hooks:HookGroup.hooks": lambda g: comfy.hooks.HookGroup().hooks == [],
    "comfy.sample:prepare_noise": lambda g: comfy.sample.prepare_noise(torch.zeros(1, 4, 8, 8), 0).shape == (1, 4, 8, 8),
    "comfy.sample:fix_empty_latent_channels": lambda g: comfy.sample.fix_empty_latent_channels(g.patcher, torch.zeros(1, 4, 8, 8)).shape
    == (1, 4, 8, 8),
    "comfy.sample:sample": lambda g: sample(g.patcher, encode(g.clip, ""), encode(g.clip, ""), steps=1).shape == (1, 4, 8, 8),
    "comfy.cli_args:args.force_fp32": lambda g: cli_args.args.force_fp32 is False,
    "comfy.cli_args:args.fp32_unet": lambda g: cli_args.args.fp32_unet is False,
    "comfy.cli_args:args.disable_metadata": lambda g: cli_args.args.disable_metadata is False,
    "comfy.cli_args:args.preview_size": lambda g: numbers(cli_args.args.preview_size),
    "comfy.cli_args:args.extra_model_paths_config": lambda g: cli_args.args.extra_model_paths_config is None
    and cli_args.parser.parse_args(["--extra-model-paths-config", "a", "b"]).extra_model_paths_config == [["a", "b"]],
    MEMORY + "get_free_memory": lambda g: numbers(comfy.model_management.get_free_memory(torch.device("cpu"))),
    MEMORY + "minimum_inference_memory": lambda g: numbers(comfy.model_management.minimum_inference_memory()),
    MEMORY + "current_loaded_models": lambda g: isinstance(comfy.model_management.current_loaded_models, list),
    MEMORY + "LoadedModel.model": lambda g: comfy.model_management.LoadedModel(g.patcher).model is g.patcher,
    MEMORY + "LoadedModel.device": lambda g: comfy.model_management.LoadedModel(g.patcher).device == g.patcher.load_device,
    MEMORY + "LoadedModel.model_loaded_memory": lambda g: numbers(comfy.model_management.LoadedModel(g.patcher).model_loaded_memory()),
    MEMORY + "vram_state": lambda g: comfy.model_management.vram_state in comfy.model_management.VRAMState,
    MEMORY + "cast_to_device": lambda g: comfy.model_management.cast_to_device(g.hidden, g.hidden.device, torch.float16).dtype
    == torch.float16,
    MEMORY + "is_device_cpu": lambda g: comfy.model_management.is_device_cpu(torch.device("cpu")) is True,
    MEMORY + "DISABLE_SMART_MEMORY": lambda g: comfy.model_management.DISABLE_SMART_MEMORY is False,
    MEMORY + "intermediate_device": lambda g: isinstance(comfy.model_management.intermediate_device(), torch.device),
    MEMORY + "OOM_EXCEPTION": lambda g: issubclass(comfy.model_management.OOM_EXCEPTION, BaseException),
    "comfy.utils:repeat_to_batch_size": lambda g: comfy.utils.repeat_to_batch_size(torch.zeros(1, 2), 3).shape == (3, 2),
    "comfy_api.latest:io.Custom": lambda g: {"Input", "Output"} <= set(dir(io.Custom("PERSONA"))),
    "comfy_api.latest:ui.PreviewImage": lambda g: hasattr(ui.PreviewImage, "as_dict"),
    "comfy_api.latest:io.ComfyNode.hidden": lambda g: hidden_of_output_node() == {io.Hidden.prompt, io.Hidden.extra_pnginfo},
    "comfy_api.latest:ui.SavedImages": lambda g: ui.SavedImages([ui.SavedResult("a.png", "b", io.FolderType.output)]).as_dict()
    == {"images": [{"filename": "a.png", "subfolder": "b", "type": "output"}]},
    "comfy_api.latest:ui.PreviewText": lambda g: "text" in ui.PreviewText("said").as_dict(),
    "comfy_execution.utils:get_executing_context": lambda g: {"node_id", "prompt_id"} <= set(executing_context()._fields),
    "server:PromptServer.client_id": lambda g: "self.client_id" in inspect.getsource(server.PromptServer.__init__),
    "server:PromptServer.routes": lambda g: "self.routes = routes" in inspect.getsource(server.PromptServer.__init__),
    "server:PromptServer.sockets": lambda g: "elif sid in self.sockets" in inspect.getsource(server.PromptServer.send_bytes),
    FOLDERS + "__file__": lambda g: Path(folder_paths.__file__).with_name("main.py").is_file(),
    FOLDERS + "models_dir": lambda g: isinstance(folder_paths.models_dir, str),
    FOLDERS + "folder_names_and_paths": lambda g: isinstance(folder_paths.folder_names_and_paths["checkpoints"][1], set),
    FOLDERS + "get_folder_paths": lambda g: isinstance(folder_paths.get_folder_paths("checkpoints")[0], str),
    FOLDERS + "get_filename_list": lambda g: isinstance(folder_paths.get_filename_list("checkpoints"), list),
    FOLDERS + "get_full_path": lambda g: folder_paths.get_full_path("checkpoints", "none such") is None,
    FOLDERS + "get_full_path_or_raise": lambda g: pytest.raises(FileNotFoundError, folder_paths.get_full_path_or_raise, "checkpoints", "none such"),
    FOLDERS + "get_input_directory": lambda g: isinstance(folder_paths.get_input_directory(), str),
    FOLDERS + "get_output_directory": lambda g: isinstance(folder_paths.get_output_directory(), str),
    FOLDERS + "get_save_image_path": lambda g: saved_as("a/b_%width%") == ("a", "b_8", 1, "a"),
    FOLDERS + "annotated_filepath": lambda g: folder_paths.annotated_filepath("a.png [output]")
    == ("a.png", folder_paths.get_output_directory()) and folder_paths.annotated_filepath("a.png") == ("a.png", None),
    FOLDERS + "filter_files_content_types": lambda g: folder_paths.filter_files_content_types(["a.png", "b.txt"], ["image"]) == ["a.png"],
    **FLOW_GIVES,
}  # fmt: skip
