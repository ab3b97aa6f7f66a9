"""IP-Adapter and PhotoMaker, to measure a persona beside them: where this ComfyUI has their nodes and weights."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import folder_paths
from comfy.model_base import SDXL
from comfy.model_patcher import ModelPatcher
from torch import Tensor

import nodes
from bench.paper.rows import BESIDE
from bench.paper.world import Painter

Beside = Callable[[Painter, Tensor], Painter]
PRESET = "PLUS FACE (portraits)"
TRIGGER = "photomaker"  # stands behind the word for the person


def installed(model: ModelPatcher) -> tuple[dict[str, Beside], list[str]]:
    """What can be put beside a persona, by name: it takes what paints, and a photo [H, W, 3], and gives what paints
    then. And a sentence for each that cannot be."""
    found, missing = {}, []
    for name, look in {"ip_adapter": ip_adapter, "photomaker": photo_maker}.items():
        try:
            found[name] = look(model)
        except LookupError as error:
            missing.append(f"Rows with {BESIDE[name]} are left out: {error.args[0]}.")
    return found, missing


def ip_adapter(model: ModelPatcher) -> Beside:
    """Raises LookupError with what is missing."""
    packs = [pack for folder in folder_paths.get_folder_paths("custom_nodes") for pack in Path(folder).glob("*")]
    own = [pack for pack in packs if pack.is_dir() and "ipadapter_plus" in pack.name.lower()]
    if not own:
        raise LookupError("this ComfyUI has no ComfyUI_IPAdapter_plus in custom_nodes")
    known = node_classes(own[0], "custom_nodes", "IPAdapterUnifiedLoader", "IPAdapter")
    try:
        # It looks for the weights by their usual names, and raises a bare Exception for what it does not find.
        patched, loaded = call(known["IPAdapterUnifiedLoader"], model=model, preset=PRESET)
    except Exception as error:
        print(f"IP-Adapter's loader: {error}")  # which may tell paths, so no page gets it
        raise LookupError(f"its loader does not find, or cannot load, the weights of its preset {PRESET}") from error

    def beside(painter: Painter, photo: Tensor) -> Painter:
        how = {"weight": 0.8, "start_at": 0.0, "end_at": 1.0, "weight_type": "standard"}
        changed = call(known["IPAdapter"], model=painter.model, ipadapter=loaded, image=photo[None], **how)[0]
        return replace(painter, model=changed)

    return beside


def photo_maker(model: ModelPatcher) -> Beside:
    """Raises LookupError with what is missing."""
    if not isinstance(model.model, SDXL):
        raise LookupError("it is for SDXL")
    weights = folder_paths.get_filename_list("photomaker")
    if not weights:
        raise LookupError("models/photomaker is empty")
    extra = Path(nodes.__file__).parent / "comfy_extras"
    known = node_classes(extra / "nodes_photomaker.py", "comfy_extras", "PhotoMakerLoader", "PhotoMakerEncode")
    encoder = call(known["PhotoMakerLoader"], photomaker_model_name=weights[0])[0]

    def beside(painter: Painter, photo: Tensor) -> Painter:
        def encode(text: str) -> list:
            inputs = {"photomaker": encoder, "image": photo[None], "clip": painter.clip, "text": text}
            return call(known["PhotoMakerEncode"], **inputs)[0]

        return replace(painter, word=f"{painter.word} {TRIGGER}", encode=encode)

    return beside


def node_classes(place: Path, parent: str, *names: str) -> Mapping[str, type]:
    """The host's nodes of these names, once it has loaded the module they are in. Raises LookupError."""
    if not all(name in nodes.NODE_CLASS_MAPPINGS for name in names):
        asyncio.run(nodes.load_custom_node(str(place), module_parent=parent))
    lost = [name for name in names if name not in nodes.NODE_CLASS_MAPPINGS]
    if lost:
        raise LookupError(f"{place.name} gives no node {lost[0]}; the lines above say why")
    return nodes.NODE_CLASS_MAPPINGS


def call(node: type, **inputs):
    """A node's outputs."""
    return getattr(node(), node.FUNCTION)(**inputs)
