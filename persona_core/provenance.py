"""Where a picture comes from, as its file says it: the mark of a generated picture, beside the workflow.

The mark is IPTC's Digital Source Type, as XMP, which photo tools, search engines and social networks look for:
https://iptc.org/standards/photo-metadata. Anybody's files are read here: nothing in them is run, sizes are limited.
"""

import io
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin  # noqa: F401

TOOL = "ComfyUI-Persona"
VERSION = "0.2.0"  # as pyproject.toml has it, which an installed package has not beside it

SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
GENERATED = SOURCE_TYPES + "trainedAlgorithmicMedia"
MARKS = "trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"

IPTC, XMP = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/", "http://ns.adobe.com/xap/1.0/"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
PERSONAS = "personas"  # the text that tells who is in a picture: [{persona, placeholder, strength}, ...]
KEYWORD = "XML:com.adobe.xmp"  # XMP's text chunk in a PNG: part 3 of its specification
# Read-only, for its chunk has a checksum.
PACKET = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="{RDF}">
  <rdf:Description rdf:about="" xmlns:Iptc4xmpExt="{IPTC}" xmlns:xmp="{XMP}">
   <Iptc4xmpExt:DigitalSourceType>{GENERATED}</Iptc4xmpExt:DigitalSourceType>
   <xmp:CreatorTool>{TOOL} {VERSION}</xmp:CreatorTool>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""

FORMATS = "PNG", "JPEG", "WEBP"  # whose readers are imported above
LARGEST_PICTURE, LARGEST_PACKET, LARGEST_TEXT = 2**27, 2**20, 2**23  # bytes
MOST_CHUNKS = 100_000


class NoPicture(ValueError):
    """A file that is no picture, or one of a kind that is not read."""


@dataclass(frozen=True)
class Told:
    """What a picture's file says of itself, whoever wrote it.

    source_type: the last part of its Digital Source Type, or "". tool: what made it, or "". texts: a PNG's texts by
    their keywords, as ComfyUI writes the workflow.
    """

    format: str
    source_type: str
    tool: str
    texts: Mapping[str, bytes]

    @property
    def generated(self) -> bool:
        return self.source_type in MARKS


def marked_png(picture: Image.Image, texts: Mapping[str, str]) -> bytes:
    """A PNG file with the mark, before all else that it says: some readers look at a file's beginning only."""
    info, content = PngImagePlugin.PngInfo(), io.BytesIO()
    info.add_itxt(KEYWORD, PACKET)
    for keyword, text in texts.items():
        info.add_text(keyword, text)
    picture.save(content, "PNG", pnginfo=info, compress_level=4)
    return content.getvalue()


def read(content: bytes) -> Told:
    """What a PNG, JPEG or WebP says of itself. Its pixels are not unpacked. Raises NoPicture."""
    try:
        with opened(content) as picture:
            kind, packet = str(picture.format), picture.info.get("xmp", b"")
    except Image.DecompressionBombError as error:  # of a WebP, which makes room for the pixels to tell anything
        raise NoPicture("The picture has too many pixels to be opened: what it says is not looked at.") from error
    except Exception as error:  # Pillow's readers fail in many ways
        raise NoPicture("The file is no PNG, JPEG or WebP picture, or it is damaged.") from error
    texts = png_texts(content) if kind == "PNG" else {}
    said = properties(texts.get(KEYWORD, b"") if kind == "PNG" else packet)
    return Told(
        kind, source_type(said.get(f"{{{IPTC}}}DigitalSourceType")), said.get(f"{{{XMP}}}CreatorTool", ""), texts
    )


def opened(content: bytes) -> ImageFile.ImageFile:
    """As Pillow opens a picture, but a PNG or JPEG of any size, as none of its pixels are unpacked by that. Raises as
    its readers do, in many ways."""
    for kind in FORMATS:
        reader, accepts = Image.OPEN[kind]
        if accepts is None or accepts(content[:16]) is True:
            return reader(io.BytesIO(content), "")
    raise SyntaxError("of another kind")


def source_type(given: object) -> str:
    """The last part of a Digital Source Type's address, or ""."""
    return given.strip().rpartition("/")[2] if isinstance(given, str) else ""


def png_texts(png: bytes) -> dict[str, bytes]:
    """What stands in a PNG's text chunks that are not packed, before its pixels or behind them; of two of a name the
    first. Pillow finds the latter only by unpacking the pixels."""
    found: dict[str, bytes] = {}
    at = 8
    for _ in range(MOST_CHUNKS):
        if at + 8 > len(png):
            break
        length, kind = struct.unpack_from(">I4s", png, at)
        if kind in (b"tEXt", b"iTXt") and length <= LARGEST_TEXT:
            keyword, _, text = png[at + 8 : at + 8 + length].partition(b"\0")
            if kind == b"iTXt":  # whether it is packed and how, its language, the keyword in that
                text = text[2:].split(b"\0", 2)[-1] if text[:1] == b"\0" else b""
            found.setdefault(keyword.decode("latin-1"), text)
        at += length + 12
    return found


def properties(packet: bytes) -> dict[str, str]:
    """The simple properties of an XMP packet by their full names; none of one that cannot be read."""
    try:
        text = packet.decode("utf-8").strip("\0 \r\n\t")
        if len(packet) > LARGEST_PACKET or "<!DOCTYPE" in text:  # entities may grow without end
            return {}
        tree = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError):
        return {}
    found: dict[str, str] = {}
    for element in tree.iter():
        for name, value in [*element.attrib.items(), (element.tag, element.get(f"{{{RDF}}}resource") or element.text)]:
            found.setdefault(name, (value or "").strip())
    return found


def as_json(text: bytes | None) -> object:
    """What a text of a picture holds; None where it is no JSON."""
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None
