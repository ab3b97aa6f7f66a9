"""The names of the host that are used where there is no server, beside those of `needs`: nodes run without them."""

from .needs import Need

ALONE = (
    Need("comfy.options:enable_args_parsing", "enable"),
    Need("comfy.cli_args:args.cuda_device"),
    Need("comfy.sd:load_checkpoint_guess_config", "ckpt_path, output_vae, output_clip, embedding_directory="),
    Need("comfy.sd:load_diffusion_model", "path"),
    Need("comfy.sd:load_clip", "paths, embedding_directory=, clip_type="),
    Need("comfy.sd:CLIPType"),
    Need("comfy.sd:VAE", "sd="),
    Need("comfy.utils:load_torch_file", "path"),
    Need("comfy.clip_vision:load", "path"),
    Need("comfy_api.latest:Types.VideoComponents"),
    Need("comfy_api.latest:InputImpl.VideoFromFile", "file"),
)
