"""Save Generated Picture and Verify Picture, through a real server: what lies on the disk, and what is told of it."""

import io
import json
import shutil
import time

import certificates
import pytest
from PIL import Image
from prompts import CHECKPOINT, find, workflow

from persona_core.content_credentials import CERTIFICATE, KEY, TRUSTED
from persona_core.provenance import LARGEST_PICTURE, PACKET, marked_png
from tools.comfy_server import ComfyServer, PromptRefused

VERIFY = "verify"


@pytest.fixture(scope="module", autouse=True)
def none_set_up():
    """The signer of whoever runs the tests is not asked."""
    with pytest.MonkeyPatch.context() as environment:
        for name in (CERTIFICATE, KEY, TRUSTED):
            environment.delenv(name, raising=False)
        yield


@pytest.fixture(scope="module")
def signing(tmp_path_factory):
    return certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def signer(server, first_personas, signing, tmp_path_factory):
    """A ComfyUI whose owner has set up signing, trusts the authority, and wants no workflow in pictures. It has no
    blind-watermark."""
    pytest.importorskip("c2pa")
    base = tmp_path_factory.mktemp("signer")
    for file in (f"models/checkpoints/{CHECKPOINT}", *(f"models/personas/{one}" for one in first_personas.values())):
        (base / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(server.base / file, base / file)
    (without := base / "without").mkdir()
    (without / "blind_watermark.py").write_text("raise ImportError")
    env = {**signing.trusting_env(), "PYTHONPATH": str(without)}
    with ComfyServer(base, cpu=True, env=env, extra_args=["--disable-metadata"]) as running:
        yield running


def painting(persona: str, **inputs) -> dict:
    """A workflow with a persona whose pictures are saved by our node."""
    prompt = workflow("load_and_generate", {"PersonaLoad": {"persona_name": persona}})
    node = prompt[find(prompt, "SaveImage")]
    node["class_type"] = "PersonaSavePicture"
    node["inputs"] = {**node["inputs"], "filename_prefix": "people/ann", "name_personas": False, **inputs}
    return prompt


def plain(color: int = 0x336699, **inputs) -> dict:
    """Two pictures with nobody in them."""
    empty = {"width": 24, "height": 16, "batch_size": 2, "color": color}
    saved = {"images": ["empty", 0], "filename_prefix": "plain", "name_personas": False, **inputs}
    return {
        "empty": {"class_type": "EmptyImage", "inputs": empty, "_meta": {"title": "My Picture"}},
        "save": {"class_type": "PersonaSavePicture", "inputs": saved},
    }


def save(server, prompt: dict, **extra_data) -> tuple[list[dict], list[bytes], str]:
    run = server.run(prompt, extra_data=extra_data)
    assert run.status == "success", run.error
    shown = run.outputs[find(prompt, "PersonaSavePicture")]
    return shown["images"], [server.view(file) for file in shown["images"]], shown["persona_notice"][0]


def verify(server, content: bytes, name: str = "any.png") -> str:
    run = server.run(verifying(server.upload_image(content, name)))
    assert run.status == "success", run.error
    return run.outputs[VERIFY]["text"][0]


def verifying(file: str) -> dict:
    return {VERIFY: {"class_type": "PersonaVerifyPicture", "inputs": {"file": file}}}


def resaved(content: bytes) -> bytes:
    """As a messenger does."""
    again = io.BytesIO()
    Image.open(io.BytesIO(content)).convert("RGB").save(again, "JPEG")
    return again.getvalue()


def test_a_saved_picture_is_marked_keeps_its_workflow_and_is_told_of(server, first_personas):
    persona = first_personas["kv_tokens"]
    prompt = painting(persona)
    [saved], [content], said = save(server, prompt, extra_pnginfo={"workflow": {"nodes": []}})
    assert saved == {"filename": "ann_00001_.png", "subfolder": "people", "type": "output"}
    info = Image.open(io.BytesIO(content)).info
    assert info["XML:com.adobe.xmp"] == PACKET and json.loads(info["workflow"]) == {"nodes": []}
    kept = {key: (node["class_type"], node["inputs"]) for key, node in json.loads(info["prompt"]).items()}
    assert kept == {key: (node["class_type"], node["inputs"]) for key, node in prompt.items()}
    assert said.startswith("Marked as generated, not signed")
    text = verify(server, content)
    assert text.startswith("marked as generated: yes, in its metadata\nsigned: no\nmade with: 'ComfyUI-Persona ")
    assert f"a likeness was used: yes, says its metadata\npersonas: {persona!r} as " in text
    lost = verify(server, resaved(content))
    assert lost.startswith("marked as generated: no") and "personas: none named" in lost


def test_a_batch_is_saved_as_save_image_does(server):
    prefix = "b/%date:yyyy%_%My Picture.width%_%height%_%no.such%"
    for color, counts in ((0x336699, (1, 2)), (0xFF0000, (3, 4))):  # none is overwritten
        files, contents, _ = save(server, plain(color, filename_prefix=prefix))
        start = f"{time.strftime('%Y')}_24_16_%no.such%"
        assert [one["filename"] for one in files] == [f"{start}_{count:05}_.png" for count in counts]
        with Image.open(io.BytesIO(contents[1])) as picture:
            assert picture.size == (24, 16) and picture.getpixel((0, 0)) == (color >> 16, color >> 8 & 255, color & 255)


def carrying(**inputs) -> dict:
    """One picture that is large enough for a watermark."""
    prompt = plain(watermark=True, **inputs)
    scaled = {"image": ["loaded", 0], "upscale_method": "lanczos", "width": 512, "height": 384, "crop": "disabled"}
    prompt["loaded"] = {"class_type": "LoadImage", "inputs": {"image": "photo.png"}}
    prompt["scaled"] = {"class_type": "ImageScale", "inputs": scaled}
    prompt["save"]["inputs"]["images"] = ["scaled", 0]
    return prompt


class TestWatermark:
    def test_it_is_told_where_all_else_is_lost_and_the_workflow_is_kept(self, server, photo):
        server.upload_image(photo.read_bytes(), "photo.png")
        prompt = carrying()
        _, [content], said = save(server, prompt, extra_pnginfo={"workflow": {"nodes": []}})
        assert said.startswith("Marked as generated, also in its pixels, not signed")
        info = Image.open(io.BytesIO(content)).info
        assert json.loads(info["workflow"]) == {"nodes": []} and info["XML:com.adobe.xmp"] == PACKET
        text = verify(server, content)
        assert text.startswith("marked as generated: yes, in its metadata and in its pixels\n")
        assert "watermark: yes, its pixels say that it is generated (64 of 64 bits agree)" in text
        assert verify(server, resaved(content)).startswith("marked as generated: yes, in its pixels\n")
        plainly = carrying()
        plainly["save"]["inputs"]["watermark"] = False
        _, [content], said = save(server, plainly)
        assert "pixels" not in said and "watermark: none found" in verify(server, content)

    def test_a_picture_that_is_too_small_is_a_sentence(self, server):
        run = server.run(plain(watermark=True))
        assert "The picture is 24 x 16" in run.error and "256 pixels a side" in run.error and len(run.error) < 300

    def test_where_the_library_is_missing_nothing_is_painted_and_verifying_goes_on(self, signer):
        with pytest.raises(PromptRefused, match="blind-watermark is missing or does not load. Install it"):
            signer.submit(plain(watermark=True))
        _, contents, _ = save(signer, plain())
        assert "watermark: not looked for (pip install blind-watermark" in verify(signer, contents[0])


class TestSigned:
    def test_a_signature_holds_and_says_that_a_likeness_was_used_but_not_whose(self, signer, first_personas):
        _, [content], said = save(signer, painting(first_personas["kv_tokens"]), extra_pnginfo={"workflow": {}})
        assert said == "Marked as generated, and signed."
        assert b"workflow" not in content and b"kv_tokens" not in content
        text = verify(signer, content)
        assert "yes, in its metadata and in its signed record" in text
        assert f"signed: yes, by '{certificates.SIGNER}, {certificates.OWNER}', whom this machine trusts" in text
        assert "a likeness was used: yes, says the signed record\npersonas: none named" in text
        assert "signed: no\n" in verify(signer, resaved(content))
        start = content.index(b"caBX") - 4
        record = content[start : start + 12 + int.from_bytes(content[start : start + 4], "big")]
        forged = marked_png(Image.open(io.BytesIO(content)).rotate(180), {})
        assert "signed: NOT VALID" in verify(signer, forged[:33] + record + forged[33:])

    def test_whose_it_is_is_signed_where_that_is_asked(self, signer, first_personas):
        _, [content], _ = save(signer, painting(first_personas["kv_tokens"], name_personas=True))
        assert f"{first_personas['kv_tokens']!r}, says the signed record" in verify(signer, content)

    def test_a_persona_elsewhere_in_the_workflow_is_none_of_the_pictures(self, signer, first_personas):
        other = painting(first_personas["kv_tokens"])
        del other[find(other, "PersonaSavePicture")]
        _, contents, _ = save(signer, {**other, **plain()})
        assert all("a likeness was used: no, says the signed record" in verify(signer, one) for one in contents)

    def test_where_signing_fails_nothing_is_painted(self, signer, signing, tmp_path):
        kept = signing.certificate.read_bytes()
        try:
            signing.certificate.write_bytes(certificates.make(tmp_path, days=-1).certificate.read_bytes())
            with pytest.raises(PromptRefused, match="cannot be signed.*valid today"):
                signer.submit(plain())
        finally:
            signing.certificate.write_bytes(kept)


@pytest.mark.parametrize("prefix", ["../ann", "/tmp/ann", "a/../../ann", "a\0b"])
def test_a_name_outside_of_the_output_folder_is_refused(server, prefix):
    with pytest.raises(PromptRefused, match="outside of ComfyUI's output folder"):
        server.submit(plain(filename_prefix=prefix))


def test_a_name_that_no_disk_takes_is_a_sentence(server):
    run = server.run(plain(filename_prefix="a" * 300))
    assert "could not be saved" in run.error and "another filename_prefix" in run.error and len(run.error) < 400


@pytest.mark.parametrize(
    "file", ["none.png", "../server.log", "../models/checkpoints/" + CHECKPOINT, "/etc/passwd", "", "."]
)
def test_a_file_that_is_not_in_the_input_folder_is_refused(server, file):
    with pytest.raises(PromptRefused, match="There is no picture"):
        server.submit(verifying(file))


def test_what_is_no_picture_or_too_large_is_a_sentence(server):
    folder = server.base / "input"
    (folder / "no_picture.png").write_text("none")
    with open(folder / "large.png", "wb") as file:
        file.truncate(LARGEST_PICTURE + 1)
    for name, says in [("no_picture.png", "no PNG, JPEG or WebP picture"), ("large.png", "larger than 128 MB")]:
        run = server.run(verifying(name))
        assert says in run.error and len(run.error) < 200, run.error
