"""The mark of a generated picture: where readers look for it, and what is told of files that anybody may have made."""

import io
import json
import random
import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from persona_core.provenance import (
    GENERATED,
    LARGEST_PACKET,
    LARGEST_TEXT,
    PACKET,
    VERSION,
    NoPicture,
    as_json,
    marked_png,
    read,
)
from persona_core.provenance_report import describe

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 24, 3), dtype=np.uint8))
COMPOSITE = GENERATED.replace("trained", "compositeWithTrained")
ATTRIBUTE = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:e="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" e:DigitalSourceType="{}"/></rdf:RDF></x:xmpmeta>"""
RESOURCE = """<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description
xmlns:e="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"><e:DigitalSourceType rdf:resource="{}"/></rdf:Description></rdf:RDF>"""


def chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    found, at = [], 8
    while at < len(png):
        length, kind = struct.unpack_from(">I4s", png, at)
        data, (checksum,) = png[at + 8 : at + 8 + length], struct.unpack_from(">I", png, at + 8 + length)
        assert checksum == zlib.crc32(kind + data)
        found.append((kind, data))
        at += length + 12
    return found


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunk(kind: bytes, data: bytes, behind_pixels: bool = False) -> bytes:
    plain = saved("PNG")
    at = len(plain) - 12 if behind_pixels else 33
    return plain[:at] + chunk(kind, data) + plain[at:]


def saved(kind: str, picture: Image.Image = PICTURE, **options) -> bytes:
    content = io.BytesIO()
    picture.save(content, kind, **options)
    return content.getvalue()


def test_the_mark_stands_where_the_xmp_specification_says_and_before_all_else():
    """Part 3: an iTXt chunk of this keyword, not packed, without a language; the packet in UTF-8, read-only."""
    png = marked_png(PICTURE, {"prompt": '{"1": {}}', "workflow": "{}"})
    found = chunks(png)
    assert [kind for kind, _ in found[:4]] == [b"IHDR", b"iTXt", b"tEXt", b"tEXt"]
    assert found[1][1] == b"XML:com.adobe.xmp\0\0\0\0\0" + PACKET.encode()
    assert PACKET.startswith('<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>')
    assert PACKET.endswith('<?xpacket end="r"?>')
    assert f"<Iptc4xmpExt:DigitalSourceType>{GENERATED}</Iptc4xmpExt:DigitalSourceType>" in PACKET
    with Image.open(io.BytesIO(png)) as picture:  # another reader
        assert picture.info["XML:com.adobe.xmp"] == PACKET and picture.info["prompt"] == '{"1": {}}'
        assert (np.asarray(picture) == np.asarray(PICTURE)).all()


def test_it_is_read_again_with_what_stands_beside_it():
    told = read(marked_png(PICTURE, {"personas": "[1]"}))
    assert told.generated and told.source_type == "trainedAlgorithmicMedia"
    assert told.tool == f"ComfyUI-Persona {VERSION}" and as_json(told.texts["personas"]) == [1]


@pytest.mark.parametrize("packet", [PACKET, ATTRIBUTE.format(GENERATED), RESOURCE.format(COMPOSITE)])
@pytest.mark.parametrize("kind", ["PNG", "PNG, behind its pixels", "JPEG", "WEBP"])
def test_it_is_found_in_files_of_other_tools(kind, packet):
    if kind.startswith("PNG"):
        data = b"XML:com.adobe.xmp\0\0\0\0\0" + packet.encode()
        assert read(with_chunk(b"iTXt", data, behind_pixels=kind != "PNG")).generated
    else:
        assert read(saved(kind, xmp=packet.encode())).generated


def test_a_photo_and_a_picture_that_lost_its_mark_are_told_as_unmarked():
    for content in (saved("PNG"), saved("JPEG", xmp=ATTRIBUTE.format(GENERATED.replace("trained", "")).encode())):
        told = read(content)
        assert not told.generated
        text = describe(told, None, [])
        assert text.startswith("marked as generated: no") and "proves nothing" in text and "signed: no\n" in text
    marked = marked_png(PICTURE, {})
    with Image.open(io.BytesIO(marked)) as picture:
        assert not read(saved("PNG", picture.convert("RGB"))).generated


def test_whoever_it_names_is_quoted():
    bad = "<img src=x>\u202e\n" + 200 * "a"
    text = describe(
        read(marked_png(PICTURE, {})), None, [{"persona": bad, "placeholder": bad, "strength": 10**400}, {}]
    )
    assert len(text.splitlines()) == 5 and "\u202e" not in text and len(text) < 600
    assert "one without a name" in text and "a likeness was used: yes, says its metadata" in text
    many = describe(read(saved("PNG")), None, [{"persona": "ann"}] * 1000)
    assert "and 980 more" in many and len(many) < 1000


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_that_is_too_large_to_be_unpacked_tells_its_mark_or_why_not(kind, monkeypatch):
    """Pillow takes it for a bomb, and opens it for nobody."""
    packet = PngImagePlugin.PngInfo()
    packet.add_itxt("XML:com.adobe.xmp", PACKET)
    content = saved(kind, pnginfo=packet) if kind == "PNG" else saved(kind, xmp=PACKET.encode())
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(content))
    try:
        assert read(content).generated and read(content).format == kind
    except NoPicture as error:  # its reader makes room for the pixels at once; older ones at any size
        assert kind == "WEBP" and "too many pixels to be opened" in str(error)


LAUGHS = '<!DOCTYPE a [<!ENTITY b "bbbbbbbb">' + "".join(
    f'<!ENTITY b{n} "{f"&b{n - 1 or str()};" * 9}">' for n in range(1, 12)
)


@pytest.mark.parametrize(
    "packet",
    [
        LAUGHS.encode() + b"]><a>&b11;</a>",
        (LAUGHS + "]><a>&b11;</a>").encode("utf-16"),
        b'<!DOCTYPE a [<!ENTITY b "c">]>' + ATTRIBUTE.format(GENERATED).encode(),
        ATTRIBUTE.format(GENERATED).encode() + b" " * LARGEST_PACKET,
        b"<a>" * 100_000,
        b"<a>" * 40_000 + b"</a>" * 40_000,
        b"\xff\xfe",
        b"",
    ],
)
def test_a_packet_that_would_harm_says_nothing(packet):
    for content in (with_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet), saved("WEBP", xmp=packet)):
        told = read(content)
        assert (told.source_type, told.tool) == ("", "")


def test_texts_are_limited_and_those_that_are_packed_are_left():
    bomb = zlib.compress(bytes(10_000_000))
    for kind, data in [
        (b"zTXt", b"personas\0\0" + bomb),
        (b"iTXt", b"personas\0\1\0\0\0" + bomb),
        (b"iTXt", b"personas"),
        (b"tEXt", b"personas\0" + bytes(LARGEST_TEXT)),
    ]:
        assert not as_json(read(with_chunk(kind, data, behind_pixels=True)).texts.get("personas"))
    assert as_json(b"[" * 100_000) is None and as_json(b"\xff") is None


@pytest.mark.parametrize(
    "content", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", saved("GIF"), saved("TIFF"), saved("PNG")[:20]]
)
def test_what_is_no_picture_of_those_kinds_is_a_sentence(content):
    with pytest.raises(NoPicture, match="no PNG, JPEG or WebP"):
        read(content)


def test_damaged_files_are_told_of_or_refused():
    chance, told = random.Random(0), 0
    info = PngImagePlugin.PngInfo()
    info.add_text("personas", json.dumps([{"persona": "ann", "strength": 1}]))
    for whole in (
        marked_png(PICTURE, {"personas": "[{}]"}),
        *(saved(kind, xmp=PACKET.encode()) for kind in ("JPEG", "WEBP")),
    ):
        for _ in range(300):
            content = bytearray(whole[: chance.randrange(len(whole) // 2, len(whole) + 1)])
            for _ in range(chance.randrange(1, 6)):
                content[chance.randrange(min(len(content), 1500))] = chance.randrange(256)
            with suppress(NoPicture):
                told += describe(read(bytes(content)), None, []).startswith("marked")
    assert 50 < told < 900
