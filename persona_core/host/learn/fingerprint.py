"""A fingerprint of everything that goes into learning, the same across restarts of the server."""

import dataclasses
import hashlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP, VAE
from torch import Tensor

from ..clip import text_towers
from .weights import stored, weights_of

PLAIN = (str, int, float, bool, type(None), Tensor)
# The host leaves weights that a checkpoint lacks as uninitialised memory. Nothing uses this one, and no file of Z-Image
# has it.
UNINITIALISED = {"diffusion_model.norm_final.weight"}
SAMPLES = 64  # values looked at in each weight: enough to tell checkpoints apart, at no cost


@dataclass(frozen=True)
class Weights:
    """The weights of a MODEL, or of the part of it whose names begin with `prefix`.

    What a checkpoint lacks and nothing uses, as the text projection of SD1.5, a prefix keeps out.
    """

    patcher: ModelPatcher
    prefix: str = ""


def weights_in(model: ModelPatcher, clip: CLIP, vae: VAE) -> tuple[Weights, ...]:
    """Those of a checkpoint that decide what is learned and painted with it."""
    texts = [Weights(clip.patcher, f"{tower.path}.") for tower in text_towers(clip).towers]
    return Weights(model, "diffusion_model."), *texts, Weights(vae.patcher)


def fingerprint(*parts: object) -> str:
    """A hex digest of tensors, numbers, strings, dataclasses, lists, dicts and `Weights`."""
    digest = hashlib.sha256()
    for part in parts:
        feed(digest, part)
    return digest.hexdigest()[:32]


def feed(digest, part: object) -> None:
    if isinstance(part, Tensor):
        digest.update(f"{tuple(part.shape)}".encode() + part.detach().cpu().float().contiguous().numpy().tobytes())
    elif isinstance(part, Weights):
        feed_weights(digest, part.patcher, part.prefix)
    elif isinstance(part, Mapping):
        for key in sorted(part, key=str):
            feed(digest, key)
            feed(digest, part[key])
    elif isinstance(part, (list, tuple)):
        digest.update(f"{len(part)}".encode())
        for item in part:
            feed(digest, item)
    elif dataclasses.is_dataclass(part):
        feed(digest, dataclasses.asdict(part))
    elif inspect.isfunction(part):
        # A patch of another node: its name and the values that node gave it.
        held = [cell.cell_contents for cell in part.__closure__ or ()]
        feed(digest, (part.__qualname__, [value for value in held if describes_itself(value)]))
    else:
        digest.update(repr(part).encode() if isinstance(part, PLAIN) else type(part).__name__.encode())


def describes_itself(value: object) -> bool:
    """Whether a value is its own description, all the way down."""
    if isinstance(value, Mapping):
        return all(describes_itself(key) and describes_itself(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(describes_itself, value))
    return isinstance(value, PLAIN)


def feed_weights(digest, patcher: ModelPatcher, prefix: str) -> None:
    """The weights as loaded from file, and the patches (LoRA) that this MODEL puts on them."""
    for name, weight in sorted(dict(weights_of(patcher.model)).items()):
        if name.startswith(prefix) and name not in UNINITIALISED:
            # Another MODEL's patches may lie on the weights just now; the host keeps the originals.
            original = patcher.backup[name].weight if name in patcher.backup else weight
            feed(digest, (name, sample(original)))
    for name, patches in sorted(patcher.patches.items(), key=lambda item: str(item[0])):
        feed(digest, str(name))
        for patch in patches:
            feed_patch(digest, patch)


def feed_patch(digest, patch: object) -> None:
    if isinstance(patch, Tensor):
        feed(digest, sample(patch))
    elif isinstance(patch, (list, tuple)):
        for item in patch:
            feed_patch(digest, item)
    elif hasattr(patch, "weights"):  # the host's weight adapters
        feed_patch(digest, patch.weights)
    else:
        feed(digest, patch)


def sample(weight: Tensor) -> Tensor:
    """Evenly spread values of a weight; of a quantized one, as they are stored."""
    return torch.cat([spread(tensor.detach().reshape(-1)) for tensor in stored(weight)])


def spread(flat: Tensor) -> Tensor:
    # In float64: float32 cannot count the values of a large weight.
    places = torch.linspace(0, max(len(flat) - 1, 0), min(SAMPLES, len(flat)), dtype=torch.float64)
    return flat[places.long().to(flat.device)].float()
