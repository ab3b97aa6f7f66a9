"""ComfyUI's modules for the speed benchmark, on the GPU if there is one, and random checkpoints in a precision.

Import it before all else of ComfyUI.
"""

from pathlib import Path

from tools import host_modules  # noqa: F401, isort: skip  (before torch)
import torch
from comfy.cli_args import args

GPU = torch.cuda.is_available()
args.cpu = not GPU  # read when comfy.model_management is first imported

import comfy.model_management  # noqa: E402
import comfy.sd  # noqa: E402

from persona_core.host.model import compute_dtype  # noqa: E402

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
TRIED = ("fp16", "bf16", "fp32") if GPU else ("fp32", "bf16")
HALF = "fp16" if GPU else "bf16"


def load(file: Path, precision: str | None = None):
    """MODEL, CLIP and VAE of a checkpoint. precision: of the UNet; None is what the host chooses for this machine."""
    for name in PRECISIONS:
        setattr(args, f"{name}_unet", name == precision)
    model, clip, vae, *_ = comfy.sd.load_checkpoint_guess_config(str(file))
    if precision and compute_dtype(model) != PRECISIONS[precision]:
        # On a CPU the host computes in fp32 whatever the weights are, but for who uses its node ModelComputeDtype.
        model.set_model_compute_dtype(PRECISIONS[precision])
    return model, clip, vae


def precision_of(model) -> str:
    return next(name for name, dtype in PRECISIONS.items() if dtype == compute_dtype(model))


def memory() -> int:
    """Bytes of it in all: the GPU's, or the machine's."""
    return comfy.model_management.get_total_memory(comfy.model_management.get_torch_device())


def free_memory() -> int:
    """Bytes that are free, once nothing is loaded."""
    unload()
    return comfy.model_management.get_free_memory()


def unload() -> None:
    comfy.model_management.unload_all_models()
    comfy.model_management.soft_empty_cache()
