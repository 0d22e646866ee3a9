"""Reads the credentials of a file and checks them: whether the signature holds, and whether the file is as signed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import av

from client.errors import MediaError
from client.provenance.manifest import ASSERTION
from client.provenance.package import c2pa_package, quiet_settings
from client.provenance.packets import PacketDigests
from client.provenance.signing import ANY, EMBEDDED, sidecar_of

State = Literal["none", "valid", "altered", "foreign", "broken", "unreadable"]
WHAT_STATES_MEAN: Mapping[State, str] = {
    "none": "the file has no credentials",
    "valid": "the signature holds, and the file is as it was signed",
    "altered": "the file was altered after it was signed",
    "foreign": "the credentials belong to another file, or every picture was encoded again",
    "broken": "the credentials themselves were altered",
    "unreadable": "there are credentials, but nothing here can read them",
}
CONTENT_CODES = ("assertion.bmffHash.mismatch", "assertion.dataHash.mismatch", "assertion.bmffHash.malformed")
DATE_CODES = ("signingCredential.expired", "claimSignature.outsideValidity")
UNTRUSTED = "signingCredential.untrusted"


@dataclass(frozen=True)
class CredentialsFound:
    """What the credentials of a file say, and whether they hold.

    Attributes:
        state: see WHAT_STATES_MEAN.
        is_trusted: whether an authority that the user trusts issued the certificate; None if none was named.
        signed_by: whom the certificate names; nobody here checked that name.
        signed_at: when, as a timestamp authority says; None without a timestamp.
        stated_time: when, as the signer says.
        program: the program that wrote the credentials.
        title: the file's name when it was signed.
        job: the assertion of this program; empty where another one signed.
        actions: what was done, as C2PA names it.
        ingredients: names of the files that it was made from, and whether each has credentials of its own.
        intact: share of the encoded pictures that are as signed, 0 to 1; None if unknown.
        problems: the failed checks, as C2PA names them.
    """

    state: State
    is_trusted: bool | None = None
    signed_by: str | None = None
    signed_at: str | None = None
    stated_time: str | None = None
    program: str | None = None
    title: str | None = None
    job: Mapping[str, Any] = field(default_factory=dict)
    actions: tuple[str, ...] = ()
    ingredients: tuple[Mapping[str, Any], ...] = ()
    intact: float | None = None
    problems: tuple[str, ...] = ()


def read_credentials_of(path: Path, anchors: str | None = None) -> CredentialsFound:
    """Read and check the credentials of a file, in itself or in the sidecar beside it.

    Args:
        path: the file.
        anchors: certificates of authorities that are trusted, PEM; None for none.

    Raises:
        MediaError: the file cannot be read.
        UsageError: c2pa-python is not installed.
    """
    c2pa = c2pa_package()
    sidecar = sidecar_of(path)
    context = c2pa.Context(c2pa.Settings.from_dict(quiet_settings(anchors)))
    try:
        with path.open("rb") as file:
            if sidecar.is_file():
                reader = c2pa.Reader(ANY, file, sidecar.read_bytes(), context=context)
            else:
                reader = c2pa.Reader(EMBEDDED.get(path.suffix.lower(), ""), file, context=context)
            with reader:
                return _found(path, json.loads(reader.json()), has_anchors=anchors is not None)
    except OSError as error:
        raise MediaError(about=path, expected="a readable file", got=error.strerror) from error
    except c2pa.C2paError as error:
        return _without(error)


def _without(error: Exception) -> CredentialsFound:
    """Tell a file without credentials from one with credentials that cannot be read."""
    kind = type(error).__name__.removeprefix("_C2pa")
    if kind in ("ManifestNotFound", "NotSupported") or "no JUMBF data found" in str(error):
        return CredentialsFound("none")
    return CredentialsFound("unreadable", problems=(str(error),))


def _found(path: Path, store: Mapping[str, Any], *, has_anchors: bool) -> CredentialsFound:
    manifest = store["manifests"][store["active_manifest"]]
    results = store.get("validation_results", {}).get("activeManifest", {})
    codes = tuple(dict.fromkeys(str(item["code"]) for item in results.get("failure", ())))
    passed = {str(item["code"]) for item in results.get("success", ())}
    job = _assertion(manifest, ASSERTION)
    problems = tuple(code for code in codes if code != UNTRUSTED)
    intact = _intact(path, job) if problems else 1.0
    signature = manifest.get("signature_info", {})
    actions = [action for data in _all(manifest, "c2pa.actions") for action in data.get("actions", ())]
    return CredentialsFound(
        state=_state(problems, intact),
        is_trusted="signingCredential.trusted" in passed if has_anchors else None,
        signed_by=signature.get("issuer") or signature.get("common_name"),
        signed_at=signature.get("time"),
        stated_time=next((action["when"] for action in actions if "when" in action), None),
        program=_program(manifest),
        title=manifest.get("title"),
        job=job,
        actions=tuple(str(action["action"]) for action in actions),
        ingredients=tuple(
            {"name": item.get("title", ""), "has_credentials": "active_manifest" in item}
            for item in manifest.get("ingredients", ())
        ),
        intact=intact,
        problems=problems,
    )


def _state(problems: tuple[str, ...], intact: float | None) -> State:
    problems = tuple(code for code in problems if code not in DATE_CODES)
    if not problems:
        return "valid"
    if any(code not in CONTENT_CODES for code in problems):
        return "broken"
    return "foreign" if intact == 0 else "altered"


def _intact(path: Path, job: Mapping[str, Any]) -> float | None:
    """Return how many of the signed pictures are in the file; None where the credentials have no digests of them."""
    try:
        return round(PacketDigests.from_json(job["pictures"]).share_in(path), 4)
    except (KeyError, TypeError, ValueError, av.FFmpegError):
        return None


def _assertion(manifest: Mapping[str, Any], label: str) -> Mapping[str, Any]:
    return next(iter(_all(manifest, label)), {})


def _all(manifest: Mapping[str, Any], label: str) -> list[Mapping[str, Any]]:
    found = manifest.get("assertions", ())
    return [item["data"] for item in found if str(item["label"]).startswith(label) and isinstance(item["data"], dict)]


def _program(manifest: Mapping[str, Any]) -> str | None:
    for info in manifest.get("claim_generator_info", ()):
        return f"{info.get('name', '')} {info.get('version', '')}".strip()
    return None
