"""Pictures beside personas: written by Save Persona, and told to the editor with Load Persona's choices."""

import time

import numpy as np
import pytest
from gallery import put_persona
from PIL import Image
from PIL.PngImagePlugin import PngInfo


def saving(server, name, picture=None):
    prompt = {
        "1": {"class_type": "PersonaLoad", "inputs": {"persona_name": "painted/source.safetensors"}},
        "2": {"class_type": "PersonaSave", "inputs": {"persona": ["1", 0], "name": name}},
    }
    if picture:
        prompt["2"]["inputs"]["picture"] = ["4", 0]
        prompt["3"] = {"class_type": "LoadImage", "inputs": {"image": picture}}
        prompt["4"] = {"class_type": "ImageBatch", "inputs": {"image1": ["3", 0], "image2": ["5", 0]}}
        prompt["5"] = {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}}
    done = server.run(prompt)
    assert done.status == "success", done.error


def told(server):
    return server.get("/object_info/PersonaLoad")["PersonaLoad"]["input"]["required"]["persona_name"][1]["pictures"]


@pytest.fixture(scope="module")
def folder(server, tmp_path_factory):
    """A folder with a persona; the input folder has a wide picture with a note in it."""
    note = PngInfo()
    note.add_text("workflow", "private")
    painted = tmp_path_factory.mktemp("painted") / "painted.png"
    Image.new("RGB", (1024, 256), "red").save(painted, pnginfo=note)
    server.upload_image(painted, "painted.png")
    return put_persona(server.base / "models/personas/painted/source.safetensors").parent


def test_a_picture_is_written_small_and_without_metadata(server, folder):
    saving(server, "painted/ann", "painted.png")
    with Image.open(folder / "ann.png") as picture:
        assert picture.size == (512, 128) and picture.info == {} and picture.getexif() == {}
        assert (np.asarray(picture) == [255, 0, 0]).all(), "the first of the batch"
    assert {file.name for file in folder.iterdir() if not file.name.startswith(".")} == {
        "source.safetensors", "ann.safetensors", "ann.png",
    }  # fmt: skip
    assert told(server)["painted/ann.safetensors"] == (folder / "ann.png").stat().st_mtime


def test_without_one_none_is_written_and_what_is_there_stays(server, folder):
    saving(server, "painted/bob")
    assert not (folder / "bob.png").exists() and "painted/bob.safetensors" not in told(server)
    Image.new("RGB", (8, 8)).save(folder / "bob.webp")
    saving(server, "painted/bob")
    time.sleep(0.3)  # folders are looked through now and then
    assert (folder / "bob.webp").exists() and "painted/bob.safetensors" in told(server)
