"""The certificate and private key that sign results: read and checked before a job starts. Keys are never logged."""

from __future__ import annotations

import datetime
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client.errors import UsageError, ref
from client.option import OptionValues
from client.provenance.certificates import CLAIM_SIGNING
from client.provenance.options import (
    CERTIFICATE_VARIABLE,
    KEY_VARIABLE,
    SIGN_CERT,
    SIGN_KEY,
    TIMESTAMP_URL,
    TIMESTAMP_VARIABLE,
    read_timestamp_url,
)
from client.provenance.package import c2pa_package

if TYPE_CHECKING:
    from cryptography import x509

EMAIL_PROTECTION = "1.3.6.1.5.5.7.3.4"
DOCUMENT_SIGNING = "1.3.6.1.5.5.7.3.36"
PURPOSES = {CLAIM_SIGNING, EMAIL_PROTECTION, DOCUMENT_SIGNING}  # any of these, C2PA 2.2, section 14.5.1
MIN_RSA_BITS = 2048
CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
MAKE_SOME = "Make some with: lipsync credentials init FOLDER"


@dataclass(frozen=True)
class Credentials:
    """What signs results.

    Attributes:
        certificates: the certificate and those that vouch for it, PEM.
        key: its private key, PEM.
        algorithm: name of the signature's algorithm in c2pa-python.
        timestamp_url: the timestamp authority; None for no timestamp.
        signer: whom the certificate names.
    """

    certificates: bytes = field(repr=False)
    key: bytes = field(repr=False)
    algorithm: str
    timestamp_url: str | None = None
    signer: str = ""


def find_credentials(values: OptionValues) -> Credentials | None:
    """Read the credentials that options or the environment name; None if neither does.

    Raises:
        UsageError: they cannot be used.
    """
    certificate, key = _path(values[SIGN_CERT], CERTIFICATE_VARIABLE), _path(values[SIGN_KEY], KEY_VARIABLE)
    url = values[TIMESTAMP_URL] or _timestamp_from_environment()
    if certificate is None and key is None:
        if values[TIMESTAMP_URL] is not None:
            raise UsageError(
                option=TIMESTAMP_URL.name,
                expected=f"{ref(SIGN_CERT.name)} and {ref(SIGN_KEY.name)} beside it",
                got="neither",
                advice=MAKE_SOME,
            )
        return None
    if certificate is None or key is None:
        raise UsageError(
            option=(SIGN_CERT.name, SIGN_KEY.name),
            expected="a certificate and its private key",
            got="one of the two",
            advice="Give both",
        )
    return read_credentials(certificate, key, url)


def read_credentials(certificate: Path, key: Path, timestamp_url: str | None = None) -> Credentials:
    """Read and check a certificate and its private key.

    Raises:
        UsageError: they cannot be used, or c2pa-python is not installed.
    """
    c2pa_package()
    chain = _read(SIGN_CERT.name, certificate)
    _check_mode(key)
    secret = _read(SIGN_KEY.name, key)
    first = _first_certificate(certificate, chain)
    _check_certificate(certificate, first)
    private = _private_key(key, secret)
    algorithm = _algorithm(certificate, first.public_key())
    if _public_bytes(private.public_key()) != _public_bytes(first.public_key()):
        raise UsageError(
            option=(SIGN_CERT.name, SIGN_KEY.name),
            expected="the private key of this certificate",
            got=f"that of another one in {key}",
        )
    found = Credentials(chain, secret, algorithm, timestamp_url, signer_of(first))
    _check_signs(certificate, found)
    return found


def signer_of(certificate: x509.Certificate) -> str:
    """Return whom a certificate names: its organisation, else its common name."""
    from cryptography.x509.oid import NameOID  # noqa: PLC0415  (optional)

    subject = certificate.subject
    for kind in (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME):
        for attribute in subject.get_attributes_for_oid(kind):
            return str(attribute.value)
    return subject.rfc4514_string()


def _path(chosen: Path | None, variable: str) -> Path | None:
    named = os.environ.get(variable)
    return chosen or (Path(named).absolute() if named else None)


def _timestamp_from_environment() -> str | None:
    text = os.environ.get(TIMESTAMP_VARIABLE)
    try:
        return read_timestamp_url(text) if text else None
    except ValueError:
        raise UsageError(
            about=f"${TIMESTAMP_VARIABLE}", expected=TIMESTAMP_URL.kind.expected, got="another text"
        ) from None


def _read(option: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(option=option, expected="a readable file", got=f"{path} ({error.strerror})") from error


def _check_mode(key: Path) -> None:
    if os.name != "posix":
        return
    try:
        mode = stat.S_IMODE(key.stat().st_mode)
    except OSError:
        return  # reading it tells more
    if mode & stat.S_IRWXO:
        raise UsageError(
            option=SIGN_KEY.name,
            expected="a file that only its owner and group can use",
            got=f"{key} with mode {mode:o}",
            advice=f"Run: chmod 600 {key}",
        )


def _first_certificate(path: Path, chain: bytes) -> x509.Certificate:
    from cryptography import x509  # noqa: PLC0415  (optional)

    try:
        return x509.load_pem_x509_certificates(chain)[0]
    except ValueError as error:
        raise UsageError(option=SIGN_CERT.name, expected="certificates in PEM form", got=path) from error


def _check_certificate(path: Path, found: x509.Certificate) -> None:
    now = datetime.datetime.now(datetime.UTC)
    if found.not_valid_after_utc < now:
        expired = f"{path}, which expired on {found.not_valid_after_utc:%Y-%m-%d}"
        raise UsageError(option=SIGN_CERT.name, expected="a valid certificate", got=expired, advice=MAKE_SOME)
    if found.not_valid_before_utc > now:
        later = f"{path}, which starts on {found.not_valid_before_utc:%Y-%m-%d}"
        raise UsageError(option=SIGN_CERT.name, expected="a valid certificate", got=later, advice="Check the clock")
    problem = _unsuitable(found)
    if problem:
        advice = f"Put the certificate that signs first. {MAKE_SOME}"
        raise UsageError(
            option=SIGN_CERT.name,
            expected="a certificate for signing that an authority issued",
            got=f"{path}, {problem}",
            advice=advice,
        )


def _unsuitable(found: x509.Certificate) -> str:
    """Return why C2PA refuses a certificate; empty if it does not."""
    from cryptography import x509  # noqa: PLC0415  (optional)

    if found.issuer == found.subject:
        return "which is signed by itself"
    try:
        if found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return "which is an authority's own"
    except x509.ExtensionNotFound:
        pass
    try:
        purposes = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        usage = found.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return "which does not say what it is for"
    if not usage.digital_signature or PURPOSES.isdisjoint(purpose.dotted_string for purpose in purposes):
        return "which is for other uses"
    return ""


def _private_key(path: Path, secret: bytes) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415  (optional)
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    try:
        return load_pem_private_key(secret, password=None)
    except TypeError:
        got = f"{path}, which is encrypted"
    except (ValueError, UnsupportedAlgorithm):
        got = str(path)
    raise UsageError(option=SIGN_KEY.name, expected="an unencrypted private key in PEM form", got=got)


def _algorithm(path: Path, public: Any) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa  # noqa: PLC0415  (optional)

    if isinstance(public, ec.EllipticCurvePublicKey) and public.curve.name in CURVES:
        return CURVES[public.curve.name]
    if isinstance(public, ed25519.Ed25519PublicKey):
        return "ED25519"
    if isinstance(public, rsa.RSAPublicKey) and public.key_size >= MIN_RSA_BITS:
        return "PS256"
    keys = f"a key of P-256, P-384, P-521, Ed25519, or RSA of {MIN_RSA_BITS} bits"
    raise UsageError(option=SIGN_CERT.name, expected=keys, got=f"another kind in {path}")


def _public_bytes(public: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415  (optional)

    return bytes(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _check_signs(path: Path, credentials: Credentials) -> None:
    """Sign a few bytes without a timestamp, so that whatever else is wrong is known before the job."""
    from client.provenance.signing import sign_bytes  # noqa: PLC0415  (imports this module)

    c2pa = c2pa_package()
    try:
        sign_bytes(credentials, b"a trial")
    except c2pa.C2paError as error:
        raise UsageError(
            option=SIGN_CERT.name, expected="a certificate that C2PA accepts", got=f"{path} ({error})"
        ) from error
