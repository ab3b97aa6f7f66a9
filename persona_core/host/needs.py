"""Every name of the host that the pack uses, what it takes and what it gives: for `contract` to ask."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Need:
    """One name of the host.

    name: "module:object.attribute"; an attribute may also be one that an object has once it is made. takes: how the
    pack calls it, or for what the pack puts in its place how the host does: "a, b, c=" are two by their place and one
    by its name. None: it is not called. gives: what comes back, or what it is.
    """

    name: str
    takes: str | None = None
    gives: str = ""


CONTRACT = (
    # A CLIP: its text encoders, their tokenizers.
    Need("comfy.sd:CLIP.clone", "", "a CLIP with a patcher of its own and the same cond_stage_model and tokenizer"),
    Need("comfy.sd:CLIP.patcher", None, "its ModelPatcher, whose model is the cond_stage_model"),
    Need("comfy.sd:CLIP.cond_stage_model", None, "SD1ClipModel, SDXLClipModel or another family's"),
    Need("comfy.sd:CLIP.tokenizer", None, "what has one SDTokenizer for each text encoder, by the encoder's name"),
    Need("comfy.sd:CLIP.layer_idx", None, "the layer of CLIP Set Last Layer, or None"),
    Need("comfy.sd:CLIP.tokenize", "text", "{encoder's key: [[(token, weight), ...], ...]}"),
    Need("comfy.sd:CLIP.encode_from_tokens_scheduled", "tokens", "[[context, dict], ...]"),
    Need("comfy.sd1_clip:SDTokenizer.tokenize_with_weights", "text, return_word_ids", "[[(token, weight), ...], ...]"),
    Need("comfy.sd1_clip:SDTokenizer._try_get_embedding", "embedding_name", "(embedding, ..., leftover text)"),
    Need("comfy.sd1_clip:SDTokenizer.tokenizer", None, "transformers' tokenizer"),
    Need("comfy.sd1_clip:SDTokenizer.embedding_directory", None, "folders, or None, where it looks for no embedding"),
    Need("comfy.sd1_clip:SDTokenizer.max_length", None, "77"),
    Need("comfy.sd1_clip:SDTokenizer.start_token", None, "a token"),
    Need("comfy.sd1_clip:SDTokenizer.end_token", None, "a token"),
    Need("comfy.sd1_clip:SDTokenizer.pad_token", None, "a token"),
    Need("comfy.sd1_clip:SDTokenizer.inv_vocab", None, "{token: word}"),
    Need("comfy.sd1_clip:SD1ClipModel.encode_token_weights", "token_weight_pairs", "(context, pooled, ...)"),
    Need("comfy.sd1_clip:SD1ClipModel.reset_clip_options", ""),
    Need("comfy.sd1_clip:SD1ClipModel.clip", None, "the encoder's name"),
    Need("comfy.sd1_clip:SDClipModel.transformer", None, "CLIPTextModel"),
    Need("comfy.sd1_clip:SDClipModel.options_default", None, "(_, layer, ...)"),
    Need("comfy.sd1_clip:SDClipModel.layer", None, "'last' or 'hidden', while it encodes"),
    Need("comfy.sd1_clip:SDClipModel.layer_idx", None, "which, if 'hidden'"),
    Need("comfy.sd1_clip:SDClipModel.num_layers", None, "a number"),
    Need("comfy.sd1_clip:SDClipModel.layer_norm_hidden_state", None, "whether the context is normed"),
    Need("comfy.sdxl_clip:SDXLClipModel.encode_token_weights", "token_weight_pairs", "(context, pooled, ...)"),
    Need("comfy.clip_model:CLIPTextModel.text_model", None, "CLIPTextModel_"),
    Need("comfy.clip_model:CLIPTextModel.get_input_embeddings", "", "an Embedding"),
    Need("comfy.clip_model:CLIPTextModel_.embeddings", None, "with a position_embedding"),
    Need("comfy.clip_model:CLIPTextModel_.encoder", None, "CLIPEncoder"),
    Need("comfy.clip_model:CLIPTextModel_.final_layer_norm", None, "a LayerNorm"),
    Need("comfy.clip_model:CLIPEncoder.layers", None, "of CLIPLayer"),
    Need("comfy.clip_model:CLIPEncoder.forward", "x, mask=, intermediate_output=", "(last state, an earlier or None)"),
    Need("comfy.clip_model:CLIPLayer.layer_norm1", None, "a LayerNorm"),
    Need("comfy.clip_model:CLIPLayer.layer_norm2", None, "a LayerNorm"),
    Need("comfy.clip_model:CLIPLayer.self_attn", None, "CLIPAttention"),
    Need("comfy.clip_model:CLIPLayer.mlp", None, "CLIPMLP"),
    Need("comfy.clip_model:CLIPAttention.forward", "x, mask, optimized_attention", "[B, L, W]"),
    Need("comfy.clip_model:CLIPAttention.heads", None, "a number"),
    Need("comfy.clip_model:CLIPAttention.q_proj", None, "a Linear"),
    Need("comfy.clip_model:CLIPAttention.k_proj", None, "a Linear"),
    # A MODEL: its patcher, its UNet, its schedule.
    Need("comfy.model_patcher:ModelPatcher.clone", "", "another patcher of the same model"),
    Need("comfy.model_patcher:ModelPatcher.model", None, "BaseModel, or a text encoder's"),
    Need("comfy.model_patcher:ModelPatcher.model_options", None, "{'transformer_options': {...}}"),
    Need("comfy.model_patcher:ModelPatcher.load_device", None, "a torch.device"),
    Need("comfy.model_patcher:ModelPatcher.patches", None, "{weight's name: [patch, ...]}"),
    Need("comfy.model_patcher:ModelPatcher.backup", None, "{weight's name: what has the original as its weight}"),
    Need("comfy.model_patcher:ModelPatcher.get_model_object", "name", "a part of the model, or what was put there"),
    Need("comfy.model_patcher:ModelPatcher.add_object_patch", "name, obj"),
    Need("comfy.model_patcher:ModelPatcher.add_wrapper_with_key", "wrapper_type, key, wrapper"),
    Need("comfy.model_patcher:ModelPatcher.set_model_attn2_replace", "patch, block_name, number, transformer_index"),
    Need("comfy.model_patcher:ModelPatcher.set_model_compute_dtype", "dtype"),
    Need("comfy.model_patcher:ModelPatcher.model_size", "", "bytes"),
    Need("comfy.model_patcher:ModelPatcher.memory_required", "input_shape", "bytes"),
    Need("comfy.model_patcher:create_model_options_clone", "model_options", "a copy whose lists may be changed"),
    Need("comfy.model_base:BaseModel.diffusion_model", None, "UNetModel, where it is one"),
    Need("comfy.model_base:BaseModel.model_config", None, "with unet_config"),
    Need("comfy.model_base:BaseModel.latent_format", None, "with latent_channels"),
    Need("comfy.model_base:BaseModel.adm_channels", None, "a number"),
    Need("comfy.model_base:BaseModel.concat_keys", None, "names"),
    Need("comfy.model_base:BaseModel.manual_cast_dtype", None, "a torch.dtype or None"),
    Need("comfy.model_base:BaseModel.get_dtype", "", "a torch.dtype"),
    Need("comfy.model_base:BaseModel.process_latent_in", "latent", "latents as the UNet takes them"),
    Need(
        "comfy.model_base:BaseModel.extra_conds",
        "noise=, latent_image=, device=, width=, height=, pooled_output=",
        "{name: what has a tensor as its cond}",
    ),
    Need("comfy.model_base:SDXL"),
    Need(
        "comfy.ldm.modules.diffusionmodules.openaimodel:UNetModel.forward",
        "x, timesteps, context=, y=, transformer_options=",
        "[B, C, h, w]",
    ),
    Need("comfy.ldm.modules.diffusionmodules.openaimodel:UNetModel.in_channels", None, "a number"),
    Need("comfy.ldm.modules.diffusionmodules.openaimodel:UNetModel.input_blocks", None, "lists of layers"),
    Need("comfy.ldm.modules.diffusionmodules.openaimodel:UNetModel.middle_block", None, "a list of layers"),
    Need("comfy.ldm.modules.diffusionmodules.openaimodel:UNetModel.output_blocks", None, "lists of layers"),
    Need("comfy.ldm.modules.diffusionmodules.openaimodel:ResBlock"),
    Need("comfy.ldm.modules.attention:BasicTransformerBlock"),
    Need("comfy.ldm.modules.attention:SpatialTransformer.transformer_blocks", None, "of BasicTransformerBlock"),
    Need("comfy.ldm.modules.attention:attention_basic", "q, k, v, heads, mask=, skip_reshape=", "[B, L, heads d]"),
    Need("comfy.ldm.modules.attention:attention_pytorch", "q, k, v, heads, mask=, skip_reshape=", "[B, L, heads d]"),
    Need(
        "comfy.ldm.modules.attention:optimized_attention",
        "q, k, v, heads, attn_precision=, transformer_options=",
        "[B, L, heads d]",
    ),
    Need("comfy.model_sampling:EPS.calculate_denoised"),
    Need("comfy.model_sampling:V_PREDICTION.calculate_denoised"),
    Need("comfy.model_sampling:ModelSamplingDiscrete.timestep", "sigma", "0..999"),
    Need("comfy.model_sampling:ModelSamplingDiscrete.set_sigmas", "sigmas", "buffers `sigmas` and `log_sigmas`"),
    Need("comfy.model_sampling:ModelSamplingDiscreteEDM"),
    # A VAE.
    Need("comfy.sd:VAE.encode", "pixels", "latents"),
    Need("comfy.sd:VAE.decode", "latents", "[B, H, W, 3]"),
    Need("comfy.sd:VAE.patcher", None, "its ModelPatcher"),
    Need("comfy.sd:VAE.first_stage_model", None, "None, where a checkpoint has none"),
    Need("comfy.sd:VAE.latent_channels", None, "a number"),
    Need("comfy.sd:VAE.spacial_compression_encode", "", "pixels a cell"),
    # An image encoder.
    Need("comfy.clip_vision:ClipVisionModel.encode_image", "image", "what has image_embeds [B, E]"),
    Need("comfy.clip_vision:ClipVisionModel.patcher", None, "its ModelPatcher"),
    # Sampling: a wrapper of each step and of each run, and attention patches in it.
    Need("comfy.patcher_extension:WrappersMP.CALC_COND_BATCH", None, "of calc_cond_batch"),
    Need("comfy.patcher_extension:WrappersMP.OUTER_SAMPLE", None, "of a guider's outer_sample"),
    Need("comfy.samplers:calc_cond_batch", "model, conds, x_in, timestep, model_options", "what the wrapper wraps"),
    Need("comfy.samplers:CFGGuider.conds", None, "{name: [conditioning's dict, ...]}"),
    Need("comfy.samplers:CFGGuider.model_options", None, "those of this run"),
    Need("comfy.samplers:KSampler.SAMPLERS", None, "names"),
    Need("comfy.samplers:KSampler.SCHEDULERS", None, "names"),
    Need("comfy.conds:CONDRegular.cond", None, "a tensor"),
    Need("comfy.conds:CONDRegular._copy_with", "cond", "another with this tensor"),
    Need("comfy.hooks:TransformerOptionsHook", "transformers_dict, hook_scope="),
    Need("comfy.hooks:EnumHookScope.AllConditioning"),
    Need("comfy.hooks:HookGroup.add", "hook"),
    Need("comfy.hooks:HookGroup.hooks", None, "a list"),
    Need("comfy.sample:prepare_noise", "latent_image, seed", "noise"),
    Need("comfy.sample:fix_empty_latent_channels", "model, latent_image", "latents"),
    Need(
        "comfy.sample:sample",
        "model, noise, steps, cfg, sampler_name, scheduler, positive, negative, latent_image, callback=, "
        "disable_pbar=, seed=",
        "latents",
    ),
    # Memory, precision, what else there is.
    Need("comfy.cli_args:args.force_fp32", None, "True or False"),
    Need("comfy.cli_args:args.fp32_unet", None, "True or False"),
    Need("comfy.cli_args:args.extra_model_paths_config", None, "[[file, ...], ...] or None"),
    Need("comfy.model_management:load_models_gpu", "models, memory_required=, force_full_load="),
    Need("comfy.model_management:free_memory", "memory_required, device, keep_loaded="),
    Need("comfy.model_management:get_free_memory", "dev", "bytes"),
    Need("comfy.model_management:minimum_inference_memory", "", "bytes"),
    Need("comfy.model_management:soft_empty_cache", ""),
    Need("comfy.model_management:current_loaded_models", None, "[LoadedModel, ...]"),
    Need("comfy.model_management:LoadedModel.model", None, "a ModelPatcher, or None where it is gone"),
    Need("comfy.model_management:cast_to_device", "tensor, device, dtype", "a tensor"),
    Need("comfy.model_management:is_device_cpu", "device", "True or False"),
    Need("comfy.model_management:OOM_EXCEPTION", None, "a kind of error"),
    Need("comfy.model_management:throw_exception_if_processing_interrupted", ""),
    Need("comfy.utils:ProgressBar.update_absolute", "value, total"),
    Need("comfy.utils:ProgressBar.update", "value"),
    Need("comfy.utils:repeat_to_batch_size", "tensor, batch_size", "a tensor"),
    # Nodes, files, the server.
    Need("comfy_api.latest:ComfyExtension.get_node_list", ""),
    Need("comfy_api.latest:io.ComfyNode.define_schema", ""),
    Need(
        "comfy_api.latest:io.Schema",
        "node_id=, display_name=, category=, description=, inputs=, outputs=, is_output_node=",
    ),
    Need("comfy_api.latest:io.NodeOutput", "first, ui="),
    Need("comfy_api.latest:io.Custom", "io_type", "a type with Input and Output"),
    Need(
        "comfy_api.latest:io.Int.Input",
        "id, default=, min=, max=, step=, control_after_generate=, optional=, tooltip=",
    ),
    Need("comfy_api.latest:io.Float.Input", "id, default=, min=, max=, step=, round=, optional=, tooltip="),
    Need("comfy_api.latest:io.String.Input", "id, multiline=, placeholder=, default=, tooltip="),
    Need("comfy_api.latest:io.Boolean.Input", "id, default=, tooltip="),
    Need("comfy_api.latest:io.Combo.Input", "id, options=, default=, optional=, tooltip="),
    Need("comfy_api.latest:io.Input"),
    Need("comfy_api.latest:io.WidgetInput"),
    *(
        Need(f"comfy_api.latest:io.{kind}.Input", "id, optional=, tooltip=")
        for kind in ("Model", "Clip", "Vae", "Image", "Mask", "Latent", "ClipVision")
    ),
    *(
        Need(f"comfy_api.latest:io.{kind}.Output", "display_name=, tooltip=")
        for kind in ("Model", "Clip", "Image", "Mask", "String")
    ),
    Need("comfy_api.latest:ui.PreviewImage", "image, cls=", "what has as_dict()"),
    Need("comfy_api.latest:ui.PreviewText", "value", "what has as_dict()"),
    Need("comfy_execution.utils:get_executing_context", "", "node_id and prompt_id of the node that runs, or None"),
    Need("server:PromptServer.send_progress_text", "text, node_id, sid"),
    Need("server:PromptServer.send_sync", "event, data, sid"),
    Need("server:PromptServer.client_id", None, "whose prompt runs"),
    Need("server:PromptServer.instance"),
    Need("server:PromptServer.routes", None, "aiohttp's table of routes"),
    Need("folder_paths:__file__", None, "beside main.py"),
    Need("folder_paths:models_dir", None, "a folder"),
    Need("folder_paths:folder_names_and_paths", None, "{kind: ([folder, ...], {extension, ...})}"),
    Need("folder_paths:add_model_folder_path", "folder_name, full_folder_path, is_default="),
    Need("folder_paths:get_folder_paths", "folder_name", "[folder, ...]"),
    Need("folder_paths:get_filename_list", "folder_name", "[name, ...]"),
    Need("folder_paths:get_full_path", "folder_name, filename", "a path, or None"),
    Need("folder_paths:get_full_path_or_raise", "folder_name, filename", "a path"),
)
