"""Makes a local certificate authority, and a certificate issued by it that C2PA accepts for signing."""

from __future__ import annotations

import datetime
import os
from dataclasses import dataclass
from pathlib import Path

from client.errors import UsageError
from client.media import output_error
from client.provenance.package import EXTRA
from lipsync_core.extras import install_advice

AUTHORITY_DAYS, CERTIFICATE_DAYS = 3650, 365
CLAIM_SIGNING = "1.3.6.1.4.1.62558.2.1"  # the extended key usage c2pa-kp-claimSigning, C2PA 2.2, section 14.5.1
OWNER_ONLY = 0o600

WHAT_IT_PROVES = """\
What these credentials prove: a result signed with them has not been changed since, and whoever signed it had this key.
What they do not prove: who that is. You named the signer yourself, and nobody checked it, so that other people's tools
show the signer as unknown. For a name that others trust, use a certificate of an authority on the C2PA trust list.
Keep the files: whoever has signing.key can sign in this name."""


@dataclass(frozen=True)
class CredentialFiles:
    """Files of a folder made by `make_credentials`.

    Attributes:
        authority: certificate of the local authority; give it to those who check your results.
        authority_key: private key of the authority, which issues further certificates.
        certificate: certificate that signs results, followed by the authority's.
        key: its private key.
    """

    authority: Path
    authority_key: Path
    certificate: Path
    key: Path

    @classmethod
    def of(cls, folder: Path) -> CredentialFiles:
        """Name the files of a folder."""
        return cls(folder / "authority.pem", folder / "authority.key", folder / "signing.pem", folder / "signing.key")

    @property
    def all(self) -> tuple[Path, ...]:
        """All files."""
        return self.authority, self.authority_key, self.certificate, self.key


def make_credentials(folder: Path, name: str) -> CredentialFiles:
    """Make an authority and a certificate in a folder, each file readable by its owner alone.

    Args:
        folder: the folder; made if it is missing.
        name: the organisation that is named as the signer.

    Raises:
        UsageError: the folder holds credentials already, the name is empty, or a package is missing.
        OutputError: a file cannot be written.
    """
    files = CredentialFiles.of(folder)
    if not 0 < len(name) <= 64 or not name.isprintable():
        raise UsageError(option="name", expected="1 to 64 printable characters", got=repr(name))
    for path in files.all:
        if path.exists():
            raise UsageError(
                about=path, expected="a folder without credentials", got="some", advice="Choose another folder"
            )
    contents = _make(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, content in zip(files.all, contents, strict=True):
            _write(path, content)
    except OSError as error:
        raise output_error(folder, error) from error
    return files


def _write(path: Path, content: bytes) -> None:
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    with open(number, "wb") as file:
        file.write(content)


def _make(name: str) -> tuple[bytes, bytes, bytes, bytes]:
    """Return the content of each file, in the order of `CredentialFiles.all`."""
    try:
        from cryptography import x509  # noqa: PLC0415  (optional)
        from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
        from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID  # noqa: PLC0415
    except ImportError:
        advice = install_advice(EXTRA)
        raise UsageError(about="credentials", expected="the package cryptography", got="none", advice=advice) from None

    def named(role: str) -> x509.Name:
        return x509.Name(
            [x509.NameAttribute(NameOID.ORGANIZATION_NAME, name), x509.NameAttribute(NameOID.COMMON_NAME, role)]
        )

    def issue(
        subject: x509.Name, public: ec.EllipticCurvePublicKey, days: int, *extensions: tuple[x509.ExtensionType, bool]
    ) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(named("local authority"))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))  # for clocks that differ
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), critical=False)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(root, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def usage(*, signs_certificates: bool) -> x509.KeyUsage:
        signs = signs_certificates
        return x509.KeyUsage(not signs, False, False, False, False, signs, signs, False, False)

    def private(key: ec.EllipticCurvePrivateKey) -> bytes:
        pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        return key.private_bytes(pem, form, serialization.NoEncryption())

    root, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = issue(
        named("local authority"),
        root.public_key(),
        AUTHORITY_DAYS,
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (usage(signs_certificates=True), True),
    )
    purposes = [ExtendedKeyUsageOID.EMAIL_PROTECTION, x509.ObjectIdentifier(CLAIM_SIGNING)]
    certificate = issue(
        named("lip-synced video"),
        key.public_key(),
        CERTIFICATE_DAYS,
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (usage(signs_certificates=False), True),
        (x509.ExtendedKeyUsage(purposes), False),
    )
    return authority, private(root), certificate + authority, private(key)
