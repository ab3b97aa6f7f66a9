"""Rows with IP-Adapter and PhotoMaker: they are there where nodes and weights are, and the page says why where not."""

import sys
from pathlib import Path
from types import SimpleNamespace

import folder_paths
import pytest
import tiny_models
import torch
from neighbours import photo_maker, serve
from safetensors.torch import save_file

import nodes
from bench.paper import neighbours
from bench.paper.measure import Bench
from bench.paper.rows import rows
from persona_core.host.apply.context import PersonaContext
from persona_core.photos import Photo

PHOTO = Photo(torch.rand(64, 64, 3, generator=torch.Generator().manual_seed(0)), torch.ones(64, 64))
IMITATION = """
from neighbours import image_prompt

class IPAdapterUnifiedLoader:
    FUNCTION, RETURN_TYPES = "load_models", ("MODEL", "IPADAPTER")

    def load_models(self, model, preset):
        if not WEIGHTS:
            raise Exception("IPAdapter model not found in /somewhere.")
        return model, {}

class IPAdapter:
    FUNCTION, RETURN_TYPES = "apply_ipadapter", ("MODEL",)

    def apply_ipadapter(self, model, ipadapter, image, weight, start_at, end_at, weight_type, attn_mask=None):
        assert image.shape == (1, 64, 64, 3)
        return (image_prompt(model),)

NODE_CLASS_MAPPINGS = {one.__name__: one for one in (IPAdapterUnifiedLoader, IPAdapter)}
"""


def painter_of(model, clip, found: dict, row: str):
    """What paints a row of a tiny persona."""
    world = SimpleNamespace(
        models=(model, clip, None), supercategory="person", neighbours=found, photo=lambda number: PHOTO
    )
    everything = rows("person", 64, beside=list(found))
    bench = Bench(world, everything, Path(), seeds=1)
    return bench.painter(everything[row], 0, tiny_models.persona(clip))


@pytest.fixture
def imitated(tmp_path, monkeypatch):
    """A function: puts a pack like IP-Adapter's among the host's, with weights or without."""

    def put(weights: bool) -> None:
        pack = tmp_path / "custom_nodes/ComfyUI_IPAdapter_plus"
        pack.mkdir(parents=True)
        (pack / "__init__.py").write_text(f"WEIGHTS = {weights}\n{IMITATION}")
        monkeypatch.setitem(folder_paths.folder_names_and_paths, "custom_nodes", ([str(pack.parent)], set()))
        monkeypatch.setattr(nodes, "NODE_CLASS_MAPPINGS", dict(nodes.NODE_CLASS_MAPPINGS))

    return put


def test_a_persona_is_painted_beside_ip_adapter(imitated):
    imitated(weights=True)
    model, clip = tiny_models.model(), tiny_models.clip()
    found, missing = neighbours.installed(model)
    assert list(found) == ["ip_adapter"] and missing == ["Rows with PhotoMaker are left out: it is for SDXL."]
    painter = painter_of(model, clip, found, "auto_ip_adapter")
    assert "attn2" in painter.model.model_options["transformer_options"]["patches_replace"]
    assert isinstance(painter.encode("a <ann>")[0][0], PersonaContext) and painter.word == "<ann>"


def test_without_weights_the_rows_are_left_out_and_no_path_is_told(imitated):
    imitated(weights=False)
    found, missing = neighbours.installed(tiny_models.model())
    assert found == {} and "Rows with IP-Adapter are left out" in missing[0] and "somewhere" not in missing[0]


@torch.inference_mode()
def test_a_persona_stands_in_photomakers_prompt(tmp_path, monkeypatch):
    model, clip = tiny_models.model(sdxl=True), tiny_models.clip("sdxl")
    encoder = photo_maker(monkeypatch, (64, 128))
    save_file(encoder.state_dict(), tmp_path / "photomaker.safetensors")
    serve(monkeypatch, "photomaker", tmp_path / "photomaker.safetensors")
    monkeypatch.setattr(nodes, "NODE_CLASS_MAPPINGS", dict(nodes.NODE_CLASS_MAPPINGS))
    module = Path(nodes.__file__).parent / "comfy_extras/nodes_photomaker.py"
    loader = neighbours.node_classes(module, "comfy_extras", "PhotoMakerLoader")["PhotoMakerLoader"]
    # As small as the text encoders; the real one takes a gigabyte.
    monkeypatch.setattr(sys.modules[loader.__module__], "PhotoMakerIDEncoder", lambda: encoder)
    found, _ = neighbours.installed(model)
    assert list(found) == ["photomaker"]
    painter = painter_of(model, clip, found, "auto_photomaker")
    ours = painter.encode("a <ann> photomaker in snow")[0][0]
    assert painter.word == "<ann> photomaker" and isinstance(ours, PersonaContext)
    assert not torch.equal(ours, painter.clip.encode_from_tokens(painter.clip.tokenize("a <ann> photomaker in snow")))
