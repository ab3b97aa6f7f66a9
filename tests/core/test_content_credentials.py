"""Signed records in pictures: what they say, whether they hold, and what is said where they cannot be made."""

import io
import json
import socket
import zlib

import certificates
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption
from PIL import Image, PngImagePlugin

from persona_core import content_credentials
from persona_core.content_credentials import (
    BOX,
    CERTIFICATE,
    KEY,
    LIKENESS,
    TRUSTED,
    CannotSign,
    check,
    check_set_up,
    sign,
)
from persona_core.provenance import GENERATED, TOOL, VERSION, marked_png, read
from persona_core.provenance_report import describe

c2pa = pytest.importorskip("c2pa")
PNG = marked_png(Image.effect_noise((32, 32), 50).convert("RGB"), {"prompt": '{"seed": 1}'})


@pytest.fixture
def signing(tmp_path, monkeypatch):
    for name in (CERTIFICATE, KEY, TRUSTED):
        monkeypatch.delenv(name, raising=False)
    made = certificates.make(tmp_path)
    for name, value in made.env().items():
        monkeypatch.setenv(name, value)
    return made


def told(png: bytes) -> str:
    return describe(read(png), check(png, "image/png"), [])


def test_what_is_signed_is_read_by_the_library_itself(signing):
    with c2pa.Reader("image/png", io.BytesIO(sign(PNG, likeness=True))) as reader:
        said = json.loads(reader.json())
    manifest = said["manifests"][said["active_manifest"]]
    assert said["validation_state"] == "Valid"  # and not "Trusted": nobody vouches for a test's certificate
    assert [one["code"] for one in said["validation_status"]] == ["signingCredential.untrusted"]
    actions, likeness = manifest["assertions"]
    assert actions["data"]["actions"] == [
        {
            "action": "c2pa.created",
            "digitalSourceType": GENERATED,
            "softwareAgent": {"name": TOOL, "version": VERSION},
        }
    ]
    assert likeness == {"label": LIKENESS, "data": {"likeness_used": True}}  # no name


def test_mark_and_workflow_stay_as_they_were(signing):
    signed = sign(PNG, likeness=False)
    assert read(signed) == read(PNG) and BOX in signed and BOX not in PNG
    assert check(PNG, "image/png") is None


def test_a_signature_that_holds_is_told_and_who_vouches(signing, monkeypatch):
    signed = sign(PNG, likeness=True, personas=["ann"])
    text = told(signed)
    assert "yes, in its metadata and in its signed record" in text
    assert f"yes, in the name of '{certificates.SIGNER}, {certificates.OWNER}'" in text and "nobody" in text
    assert "a likeness was used: yes, says the signed record" in text and "'ann', says the signed record" in text
    monkeypatch.setenv(TRUSTED, str(signing.authority))
    assert "whom this machine trusts. The file is as it was signed" in told(signed)
    assert "a likeness was used: no, says the signed record" in told(sign(PNG, likeness=False))


def changed(png: bytes, mark: bytes, behind: int = -1) -> bytes:
    """A PNG with one bit turned at a mark, and the checksum of its chunk made right, as an editor would."""
    turned, at = bytearray(png), 8
    place = png.index(mark) + len(mark) + behind
    turned[place] ^= 1
    while at + 12 + (length := int.from_bytes(png[at : at + 4], "big")) <= place:
        at += 12 + length
    turned[at + 8 + length : at + 12 + length] = zlib.crc32(turned[at + 4 : at + 8 + length]).to_bytes(4, "big")
    return bytes(turned)


def test_a_change_of_pixels_texts_or_the_record_itself_is_told_as_not_valid(signing):
    signed = sign(PNG, likeness=True)
    broken = {
        "assertion.dataHash.mismatch": [
            changed(signed, b'"seed": 1'),
            changed(signed, b"trainedAlgorithmicMedia<"),
            changed(signed, b"IDAT", 100),
        ],
        "assertion.hashedURI.mismatch": [changed(signed, b"likeness_used")],
        "": [changed(signed, b"Test Signer"), signed[: len(signed) - 20]],
    }
    start = signed.index(b"caBX") - 4
    record = signed[start : start + 12 + int.from_bytes(signed[start : start + 4], "big")]
    other = marked_png(Image.new("RGB", (32, 32)), {})
    broken["assertion.dataHash.mismatch"].append(other[:33] + record + other[33:])
    for why, files in broken.items():
        for file in files:
            text = told(file)
            assert "signed: NOT VALID" in text and why in text and "says the signed record" not in text


def test_a_record_that_lies_elsewhere_is_not_fetched(signing):
    """Or who sends a picture would hear who looks at it."""
    packet = """<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description
    xmlns:dcterms="http://purl.org/dc/terms/" dcterms:provenance="http://127.0.0.1:{}/record"/></rdf:RDF>"""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.2)
        info, content = PngImagePlugin.PngInfo(), io.BytesIO()
        info.add_itxt("XML:com.adobe.xmp", packet.format(listening.getsockname()[1]))
        info.add(b"teXt", BOX)  # or nobody would look for a record
        Image.new("RGB", (8, 8)).save(content, "PNG", pnginfo=info)
        found = check(content.getvalue(), "image/png")
        with pytest.raises(TimeoutError):
            listening.accept()
    assert found.state == "Invalid"


def test_without_the_library_it_is_said_that_nothing_is_known(signing, monkeypatch):
    signed = sign(PNG, likeness=True)
    monkeypatch.setattr(content_credentials, "library", lambda: None)
    assert "signed: perhaps" in told(signed) and "pip install c2pa-python" in told(signed)
    with pytest.raises(CannotSign, match="c2pa-python is missing"):
        check_set_up()


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP521R1()])
def test_other_keys_sign_too(tmp_path, monkeypatch, curve):
    for name, value in certificates.make(tmp_path, curve=curve).env().items():
        monkeypatch.setenv(name, value)
    assert check(sign(PNG, likeness=False), "image/png").state == "Valid"


def test_what_is_set_up_wrongly_is_said_before_anything_is_painted(signing, tmp_path, monkeypatch):
    check_set_up()
    key = signing.key.read_bytes()
    locked = certificates.private(ec.generate_private_key(ec.SECP256R1()), BestAvailableEncryption(b"secret"))
    for content, says in [(locked, "locked by a password"), (b"none", "cannot be signed"), (b"", "cannot be signed")]:
        signing.key.write_bytes(content)
        with pytest.raises(CannotSign, match=says) as ended:
            check_set_up()
        assert len(str(ended.value)) < 400 and str(tmp_path) not in str(ended.value)
    signing.key.write_bytes(certificates.make(tmp_path / "another").key.read_bytes())
    with pytest.raises(CannotSign, match="belong to the key"):
        check_set_up()
    signing.key.write_bytes(key)
    past = certificates.make(tmp_path / "past", days=-1)
    for name, value, says in [
        (CERTIFICATE, str(past.certificate), "valid today"),
        (CERTIFICATE, str(tmp_path / "none.pem"), f"{CERTIFICATE} names cannot be read"),
        (CERTIFICATE, "", f"{CERTIFICATE} is not set"),
    ]:
        monkeypatch.setenv(name, value)
        with pytest.raises(CannotSign, match=says) as ended:
            check_set_up()
        assert str(tmp_path) not in str(ended.value)
    monkeypatch.delenv(KEY)
    check_set_up()  # nothing is set up


def test_a_record_may_say_anything(signing):
    told = {"active_manifest": "a", "manifests": {"a": {"assertions": [{"label": LIKENESS, "data": 1}]}}}
    for data in (None, 1, [], {"likeness_used": "yes", "personas": 1}, {"personas": [{}, 1]}):
        told["manifests"]["a"]["assertions"][0]["data"] = data
        found = content_credentials.credentials(told)
        assert (found.likeness, list(found.personas), found.state) == (None, [], "Invalid")
