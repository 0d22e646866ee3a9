"""Certificates for tests, made anew each time by openssl's command."""

from __future__ import annotations

import subprocess
from pathlib import Path


def write_authority(folder: Path, name: str) -> Path:
    """Write NAME.pem and NAME.key of a certificate authority."""
    _openssl(
        "req", "-x509", *_new_key(folder, name), "-subj", f"/CN={name}", "-days", "2", "-out", f"{folder}/{name}.pem"
    )
    return folder / f"{name}.pem"


def write_certificate(folder: Path, name: str, authority: str, *, days: int = 2) -> Path:
    """Write NAME.pem and NAME.key, signed by the authority of that name, for loopback; days below 0: expired."""
    request, extensions = folder / f"{name}.csr", folder / f"{name}.ext"
    extensions.write_text("subjectAltName = IP:127.0.0.1\n")
    _openssl("req", *_new_key(folder, name), "-subj", f"/CN={name}", "-out", str(request))
    signer = ("-CA", f"{folder}/{authority}.pem", "-CAkey", f"{folder}/{authority}.key", "-CAcreateserial")
    _openssl(
        "x509",
        "-req",
        "-in",
        str(request),
        *signer,
        "-extfile",
        str(extensions),
        "-days",
        str(days),
        "-out",
        f"{folder}/{name}.pem",
    )
    return folder / f"{name}.pem"


def _new_key(folder: Path, name: str) -> tuple[str, ...]:
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-keyout", f"{folder}/{name}.key")


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
