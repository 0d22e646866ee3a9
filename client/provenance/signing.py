"""Signs a file, by c2pa-python: into a copy where the format holds manifests, else into a sidecar beside it."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from client.provenance.credentials import Credentials
from client.provenance.manifest import Input
from client.provenance.package import c2pa_package, quiet_settings

# Suffix -> format of c2pa-python. AVI is left out: the library would hold the whole file in memory.
EMBEDDED = {".mp4": "video/mp4", ".m4v": "video/x-m4v", ".mov": "video/quicktime"}
ANY = "application/octet-stream"
SIDECAR_SUFFIX = ".c2pa"


def sidecar_of(path: Path) -> Path:
    """Return where the credentials of a file are that cannot hold them itself: out.mkv -> out.mkv.c2pa."""
    return path.with_name(f"{path.name}{SIDECAR_SUFFIX}")


def holds_manifest(path: Path) -> bool:
    """Return whether a file of this name holds its credentials itself."""
    return path.suffix.lower() in EMBEDDED


def sign_into(
    part: Path, target: Path, suffix: str, definition: dict[str, object], inputs: Sequence[Input], by: Credentials
) -> None:
    """Write a signed copy of a file.

    Args:
        part: the complete file.
        target: the copy.
        suffix: the output's extension, one of EMBEDDED.
        definition: the manifest, see `client.provenance.manifest`.
        inputs: its ingredients.
        by: the credentials.

    Raises:
        C2paError: the file cannot be signed, or the timestamp authority does not answer.
        OSError: a file cannot be read or written.
    """
    builder = _builder(definition, inputs)
    with part.open("rb") as source, target.open("w+b") as signed:
        builder.sign(_signer(by), EMBEDDED[suffix], source, signed)
        signed.flush()
        os.fsync(signed.fileno())


def sign_beside(part: Path, definition: dict[str, object], inputs: Sequence[Input], by: Credentials) -> bytes:
    """Return the manifest of a file, for a sidecar; raises what `sign_into` does."""
    builder = _builder(definition, inputs)
    builder.set_no_embed()
    with part.open("rb") as source, open(os.devnull, "w+b") as nowhere:
        return bytes(builder.sign(_signer(by), ANY, source, nowhere))


def sign_bytes(by: Credentials, content: bytes) -> None:
    """Sign some bytes without a timestamp, as a trial.

    Raises:
        C2paError: the credentials do not sign.
    """
    builder = _builder({"claim_generator_info": [{"name": "trial", "version": "0"}]}, ())
    builder.set_no_embed()
    builder.add_action({"action": "c2pa.created", "digitalSourceType": "http://c2pa.org/digitalsourcetype/empty"})
    builder.sign(_signer(by, with_timestamp=False), ANY, io.BytesIO(content), io.BytesIO())


def _builder(definition: dict[str, object], inputs: Sequence[Input]) -> Any:
    c2pa = c2pa_package()
    builder = c2pa.Builder(definition, c2pa.Context(c2pa.Settings.from_dict(quiet_settings())))
    for item in inputs:
        with item.path.open("rb") as file:
            builder.add_ingredient(item.ingredient, _format_of(item.path), file)
    return builder


def _format_of(path: Path) -> str:
    """Return the format of an input; manifests of its own are read where the library knows it."""
    name = path.suffix.lower().removeprefix(".")
    return name if name in c2pa_package().Builder.get_supported_mime_types() else ANY


def _signer(by: Credentials, *, with_timestamp: bool = True) -> Any:
    c2pa = c2pa_package()
    url = by.timestamp_url if with_timestamp else None
    return c2pa.Signer.from_info(c2pa.C2paSignerInfo(c2pa.C2paSigningAlg[by.algorithm], by.certificates, by.key, url))
