"""Content Credentials: a signed record (a C2PA manifest) in a picture's file, by c2pa-python where that is installed.

Who runs ComfyUI names certificate and key in its environment; a workflow cannot. Nothing leaves the machine: records
that lie elsewhere, lists of certificates that were called back and timestamps are not asked for.
"""

import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from PIL import Image

from .files import shown
from .provenance import GENERATED, MARKS, TOOL, VERSION, marked_png, source_type

# Files in PEM: the signer's certificate and those above it; its key; whom this machine trusts.
CERTIFICATE, KEY, TRUSTED = "PERSONA_C2PA_CERTIFICATE", "PERSONA_C2PA_KEY", "PERSONA_C2PA_TRUSTED"
LIKENESS = "io.github.comfyui-persona.likeness"
ALGORITHMS = {256: "es256", 384: "es384", 521: "es512"}  # by the curve's size
# How the box begins in which any file holds its record.
BOX = bytes.fromhex("6332706100110010800000aa00389b71") + b"\x03c2pa\0"
UNTRUSTED = "signingCredential.untrusted"
INSTALL = "pip install c2pa-python, with the Python that runs ComfyUI"


class CannotSign(ValueError):
    """Signing is set up, but not rightly."""


@dataclass(frozen=True)
class Credentials:
    """What a picture's record says, and whether it holds.

    state: "Trusted", "Valid" (whole, but nobody trusted vouches for the signer), "Invalid", or "Unchecked" where
    c2pa-python is missing. likeness: what Save Generated Picture said of that; None where nothing is said.
    """

    state: str
    signer: str = ""
    tool: str = ""
    generated: bool = False
    likeness: bool | None = None
    personas: Sequence[str] = ()
    faults: Sequence[str] = ()


def library() -> ModuleType | None:
    try:
        import c2pa
    except Exception:  # a native library may fail in any way
        return None
    return c2pa


def set_up() -> bool:
    """Whether pictures should be signed."""
    return bool(os.getenv(CERTIFICATE) or os.getenv(KEY))


def check_set_up() -> None:
    """Raise CannotSign, before hours of painting, where what is set up does not sign."""
    if set_up():
        sign(marked_png(Image.new("RGB", (8, 8)), {}), likeness=False)


def sign(png: bytes, likeness: bool, personas: Sequence[str] = ()) -> bytes:
    """A PNG with a signed record: generated, with this tool, whether a likeness was used, and whose if they are named.

    Raises CannotSign.
    """
    c2pa = library()
    if c2pa is None:
        raise CannotSign(
            f"{CERTIFICATE} is set, but c2pa-python is missing. Install it ({INSTALL}), or unset {CERTIFICATE}."
        )
    certificate, key, signed = named_file(CERTIFICATE), named_file(KEY), io.BytesIO()
    try:
        signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(algorithm(key), certificate, key, None))
        with c2pa.Builder(record(likeness, personas), context(c2pa)) as builder:
            builder.sign(signer, "image/png", io.BytesIO(png), signed)
    except (c2pa.C2paError, ValueError) as error:
        raise CannotSign(
            f"The picture cannot be signed ({shown(str(error), 120)}). Check the files that {CERTIFICATE} and {KEY} "
            "name: the certificate must be valid today, made for signing, and belong to the key."
        ) from error
    return signed.getvalue()


def record(likeness: bool, personas: Sequence[str]) -> dict[str, object]:
    tool = {"name": TOOL, "version": VERSION}
    created = {"action": "c2pa.created", "digitalSourceType": GENERATED, "softwareAgent": tool}
    used = {"likeness_used": likeness, **({"personas": list(personas)} if personas else {})}
    return {
        "claim_generator_info": [tool],
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [created]}},
            {"label": LIKENESS, "data": used},
        ],
    }


def named_file(variable: str) -> bytes:
    """What a file holds that the environment names. Workflows' senders read the error: it does not say which."""
    place = os.getenv(variable)
    if not place:
        raise CannotSign(f"To sign pictures, {CERTIFICATE} and {KEY} are both needed, and {variable} is not set.")
    try:
        return Path(place).read_bytes()
    except OSError as error:
        raise CannotSign(f"The file that {variable} names cannot be read ({error.strerror}).") from error


def algorithm(key: bytes) -> str:
    """With which a key signs. Raises ValueError."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa  # c2pa-python brings it
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        loaded = load_pem_private_key(key, None)
    except TypeError:
        raise ValueError("the key is locked by a password") from None
    if isinstance(loaded, ec.EllipticCurvePrivateKey) and loaded.key_size in ALGORITHMS:
        return ALGORITHMS[loaded.key_size]
    if isinstance(loaded, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(loaded, rsa.RSAPrivateKey):
        return "ps256"
    raise ValueError("keys of this kind cannot sign")


def context(c2pa: ModuleType) -> object:
    settings: dict[str, object] = {
        "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
        "builder": {"thumbnail": {"enabled": False}},
    }
    if os.getenv(TRUSTED):
        settings["trust"] = {"trust_anchors": named_file(TRUSTED).decode("utf-8", "replace")}
    return c2pa.Context(c2pa.Settings.from_dict(settings))


def check(content: bytes, mime: str) -> Credentials | None:
    """The record in a picture's file; None where there is none."""
    if BOX not in content:
        return None
    c2pa = library()
    if c2pa is None:
        return Credentials("Unchecked")
    trusting = context(c2pa)
    try:
        with c2pa.Reader(mime, io.BytesIO(content), None, trusting) as reader:
            return credentials(json.loads(reader.json()))
    except (c2pa.C2paError, ValueError) as error:
        return Credentials("Invalid", faults=[shown(str(error), 120)])


def credentials(told: Mapping) -> Credentials:
    """Of what c2pa-python says of a file's record. The file may have written anything into ours."""
    active = told.get("manifests", {}).get(told.get("active_manifest"), {})
    signature, tools = active.get("signature_info") or {}, active.get("claim_generator_info") or [{}]
    data = {one.get("label"): one.get("data") for one in active.get("assertions", ())}
    actions = (data.get("c2pa.actions.v2") or data.get("c2pa.actions") or {}).get("actions", ())
    ours = data.get(LIKENESS)
    used = ours if isinstance(ours, dict) else {}
    likeness, personas = used.get("likeness_used"), used.get("personas")
    return Credentials(
        told.get("validation_state") or "Invalid",
        ", ".join(str(signature[key]) for key in ("common_name", "issuer") if signature.get(key)),
        " ".join(str(tools[0][key]) for key in ("name", "version") if tools[0].get(key)),
        any(source_type(one.get("digitalSourceType")) in MARKS for one in actions),
        likeness if isinstance(likeness, bool) else None,
        [one for one in personas if isinstance(one, str)] if isinstance(personas, list) else [],
        [one["code"] for one in told.get("validation_status") or () if one["code"] != UNTRUSTED],
    )
