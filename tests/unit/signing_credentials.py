"""Credentials for tests of provenance, made when they run: good ones, and ones with a flaw."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)


def write_key(path: Path, key: ec.EllipticCurvePrivateKey, password: bytes | None = None) -> Path:
    """Write a private key, for its owner alone."""
    protection = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path.write_bytes(key.private_bytes(pem, form, protection))
    path.chmod(0o600)
    return path


def issue(
    folder: Path,
    *,
    days: tuple[int, int] = (-1, 1),
    purpose: x509.ObjectIdentifier | None = ExtendedKeyUsageOID.EMAIL_PROTECTION,
    by_itself: bool = False,
) -> tuple[Path, Path]:
    """Write a certificate and its key.

    Args:
        folder: the folder.
        days: from when to when it is valid, counted from now.
        purpose: its extended key usage; None for none.
        by_itself: whether it is signed by itself.
    """
    key, root = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Somebody")])
    issuer = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "An authority")])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if by_itself else issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + days[0] * DAY)
        .not_valid_after(now + days[1] * DAY)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(True, False, False, False, False, False, False, False, False),
            critical=True,
        )
    )
    if purpose is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    signed = builder.sign(key if by_itself else root, hashes.SHA256())
    certificate = folder / "flawed.pem"
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    return certificate, write_key(folder / "flawed.key", key)
