"""What artists use beside a persona, small, with seeded weights: LoRA, ControlNet, PhotoMaker, hypernetwork, packs that
replace attention or paint in tiles."""

import comfy.cldm.cldm
import comfy.controlnet
import comfy.lora
import comfy.model_management
import comfy.ops
import folder_paths
import safetensors.torch
import tiny_models
import torch
from comfy.gligen import GatedSelfAttentionDense, Gligen, PositionNet
from comfy.ldm.modules.attention import BasicTransformerBlock, SpatialTransformer, optimized_attention
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from comfy_extras import nodes_photomaker

from persona_core.host.apply.context import PersonaContext

PAIR = ["negative", "persona"]  # the rows of a pass
STEPS = 3  # one above, one in and one below the persona's stage


def names_of_rows(passes, **prompts) -> list[list[str]]:
    """For each pass of a Recorder and each row: the first of the prompts whose contexts made K and V of every layer."""
    tables = {}
    for name, prompt in prompts.items():
        context = prompt[0][0]
        static = context, context
        tables[name] = context.table.at if isinstance(context, PersonaContext) else lambda t, static=static: static

    def name_of(one, row):
        for name, at in tables.items():
            contexts = dict(zip("kv", at(one["t"]), strict=True))
            if all(torch.equal(given[row], contexts[side][0]) for side in "kv" for given in one[side]):
                return name
        return "nobody"

    return [[name_of(one, row) for row in range(len(one["k"][0]))] for one in passes]


def noise(*shape, seed=3):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def serve(monkeypatch, kind, file):
    """Let the host's loader nodes find a file under its name."""
    monkeypatch.setitem(folder_paths.folder_names_and_paths, kind, ([str(file.parent)], {file.suffix}))
    return file.name


def lora_file(path, model, clip):
    """A LoRA of rank 2 on every linear layer of UNet and text encoder."""
    names = {key: name for name, key in comfy.lora.model_lora_keys_unet(model.model).items() if "lora_unet" in name}
    on_clip = comfy.lora.model_lora_keys_clip(clip.cond_stage_model)
    names |= {key: name for name, key in on_clip.items() if name.startswith("text_encoders.") and ".layers." in name}
    weights = {**model.model.state_dict(), **clip.cond_stage_model.state_dict()}
    lora = {}
    for seed, (key, name) in enumerate(names.items()):
        if key in weights and weights[key].ndim == 2:
            rows, columns = weights[key].shape
            lora[f"{name}.lora_up.weight"] = 0.2 * noise(rows, 2, seed=seed)
            lora[f"{name}.lora_down.weight"] = 0.2 * noise(2, columns, seed=1000 + seed)
    safetensors.torch.save_file(lora, path)
    return path


def hypernetwork_file(path, width):
    """For contexts of a width: one linear layer each for K and V."""
    sides = [
        {"linear.weight": 0.3 * noise(width, width, seed=seed), "linear.bias": torch.zeros(width)} for seed in (1, 2)
    ]
    torch.save({width: sides}, path)
    return path


def control_net(model) -> comfy.controlnet.ControlNet:
    """Of the UNet's own layout; `fill` leaves no convolution at zero."""
    layout = {name: value for name, value in model.model.model_config.unet_config.items() if name != "out_channels"}
    network = comfy.cldm.cldm.ControlNet(**layout, hint_channels=3, operations=comfy.ops.disable_weight_init)
    tiny_models.fill(network, 5)
    return comfy.controlnet.ControlNet(network, load_device=comfy.model_management.get_torch_device())


def photo_maker(monkeypatch, widths):
    """PhotoMaker's encoder of 2 layers, for text encoders of other widths than SDXL's."""
    small = dict(
        hidden_size=64, intermediate_size=64, num_attention_heads=4, num_hidden_layers=2, projection_dim=widths[0]
    )
    monkeypatch.setattr(
        nodes_photomaker, "VISION_CONFIG_DICT", {**nodes_photomaker.VISION_CONFIG_DICT, **small, "patch_size": 56}
    )
    encoder = nodes_photomaker.PhotoMakerIDEncoder()
    encoder.visual_projection_2 = comfy.ops.manual_cast.Linear(64, widths[1], bias=False)
    encoder.fuse_module = nodes_photomaker.FuseModule(sum(widths), comfy.ops.manual_cast)
    tiny_models.fill(encoder, 6)
    return encoder.float()


def cross_attentions(model):
    """((block name, number), module) of all blocks with cross-attention."""
    unet = model.model.diffusion_model
    blocks = {("input", n): block for n, block in enumerate(unet.input_blocks)}
    blocks |= {("middle", 0): unet.middle_block} | {("output", n): block for n, block in enumerate(unet.output_blocks)}
    for place, block in blocks.items():
        for layer in block:
            if isinstance(layer, SpatialTransformer):
                yield place, layer.transformer_blocks[0].attn2


def image_prompt(model, seen=None):
    """As packs do that show pictures to the UNet: at every cross-attention, attention to four image tokens is added.

    seen: gets (t's noise level, block, k, v, cond_or_uncond) of each call.
    """
    patched = model.clone()
    for seed, (place, attention) in enumerate(cross_attentions(model)):
        keys, values = (noise(1, 4, attention.to_k.out_features, seed=2 * seed + side) for side in (0, 1))

        def attend(q, k, v, extra_options, place=place, keys=keys, values=values):
            if seen is not None:
                seen.append((extra_options["sigmas"][0], place, k, v, extra_options["cond_or_uncond"]))
            heads, count = extra_options["n_heads"], len(q)
            image = optimized_attention(q, keys.expand(count, -1, -1), values.expand(count, -1, -1), heads)
            return optimized_attention(q, k, v, heads) + 0.5 * image

        patched.set_model_attn2_replace(attend, *place)
    return patched


def in_tiles(model, at_once):
    """As packs do that paint large pictures in tiles: two halves, each in its own pass or both in one batch."""
    patched = model.clone()

    def paint(apply, given):
        halves, c = given["input"].chunk(2, -1), given["c"]
        if not at_once:
            return torch.cat([apply(half, given["timestep"], **c) for half in halves], -1)
        c = {**c, "c_crossattn": c["c_crossattn"].repeat(2, 1, 1)}
        return torch.cat(apply(torch.cat(halves), given["timestep"].repeat(2), **c).chunk(2), -1)

    patched.set_model_unet_function_wrapper(paint)
    return patched


def weighed_in_another_style(clip):
    """As packs do that read weights as other programs do: their function in the place of an encoder's own. It wants the
    words' numbers, and brings the mean over the whole prompt to 0."""
    patched = clip.clone()
    for name in ("clip_l", "clip_g"):
        if hasattr(clip.cond_stage_model, name):
            place = f"{name}.encode_token_weights"
            own = clip.patcher.get_model_object(place)

            def encode(sections, own=own):
                plain = [[(token, 1.0) for token, _, _ in section] for section in sections]
                weights = torch.tensor([[weight for _, weight, _ in section] for section in sections]).reshape(1, -1, 1)
                context, pooled, *rest = own(plain)
                return context * weights - (context * weights).mean(), pooled, *rest

            patched.patcher.add_object_patch(place, encode)
    return patched


def in_windows(model, length):
    """As packs do that paint many frames: each step goes over windows of few, inside whatever wrapped it before."""
    patched = model.clone()

    def each_window(executor, model, conds, x, timestep, options):
        windows = [slice(start, start + length) for start in range(0, len(x), length)]
        painted = [executor(model, conds, x[window], timestep[window], options) for window in windows]
        return [torch.cat(parts) for parts in zip(*painted, strict=True)]

    patched.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, "windows", each_window)
    return patched


def text_boxes(model, width) -> ModelPatcher:
    """A GLIGEN for a UNet. width: of the text encoder."""
    blocks = [one for one in model.model.diffusion_model.modules() if isinstance(one, BasicTransformerBlock)]
    channels = [block.norm1.normalized_shape[0] for block in blocks]
    gates = [GatedSelfAttentionDense(count, width, 4, count // 4) for count in channels]
    made = Gligen(gates, PositionNet(width, width), width)
    tiny_models.fill(made, 5)
    for gate in gates:
        gate.alpha_attn.data.fill_(1.0)
    return ModelPatcher(made, torch.device("cpu"), torch.device("cpu"))
