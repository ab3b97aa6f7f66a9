"""Certificates for signing pictures, as an authority would give them, and wrong ones."""

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from persona_core.content_credentials import CERTIFICATE, KEY, TRUSTED

SIGNER, OWNER = "Test Signer", "Test Studio"


@dataclass(frozen=True)
class Signing:
    """Files in PEM. certificate: the signer's and the authority's."""

    certificate: Path
    key: Path
    authority: Path

    def env(self) -> dict[str, str]:
        return {CERTIFICATE: str(self.certificate), KEY: str(self.key)}

    def trusting_env(self) -> dict[str, str]:
        return {**self.env(), TRUSTED: str(self.authority)}


def make(folder: Path, *, days: int = 30, curve: ec.EllipticCurve | None = None) -> Signing:
    """days: for how long the signer's is valid from now on; negative if it no longer is."""
    folder.mkdir(parents=True, exist_ok=True)
    signing = Signing(folder / "certificate.pem", folder / "key.pem", folder / "authority.pem")
    above, own = (ec.generate_private_key(curve or ec.SECP256R1()) for _ in range(2))
    authority = certificate("Test Authority", above, "Test Authority", above, days=900)
    signer = certificate(SIGNER, own, "Test Authority", above, days=days)
    signing.certificate.write_bytes(signer + authority)
    signing.authority.write_bytes(authority)
    signing.key.write_bytes(private(own, serialization.NoEncryption()))
    return signing


def private(key: ec.EllipticCurvePrivateKey, lock: serialization.KeySerializationEncryption) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)


def certificate(name: str, key, above: str, by, *, days: int) -> bytes:
    now, authority = datetime.now(timezone.utc), name == above
    made = (
        x509.CertificateBuilder()
        .subject_name(called(name))
        .issuer_name(called(above))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=100))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(authority, None), critical=True)
        .add_extension(
            x509.KeyUsage(not authority, False, False, False, False, authority, False, False, False), critical=True
        )
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if not authority:
        made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return made.sign(by, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def called(name: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, OWNER), x509.NameAttribute(NameOID.COMMON_NAME, name)]
    )
