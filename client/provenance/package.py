"""Imports c2pa-python, the one package that signs and reads credentials, when it is needed."""

from __future__ import annotations

from importlib.util import find_spec
from types import ModuleType

from client.errors import UsageError
from lipsync_core.extras import install_advice

EXTRA = "provenance"
QUIET: dict[str, object] = {  # nothing is fetched from the network, and no picture enters a manifest
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_trust": False},
}


def is_installed() -> bool:
    """Return whether credentials can be read."""
    return find_spec("c2pa") is not None


def c2pa_package() -> ModuleType:
    """Import c2pa-python.

    Raises:
        UsageError: it is not installed.
    """
    if not is_installed():
        raise UsageError(
            about="credentials",
            expected="the package c2pa-python",
            got="none",
            advice=install_advice(EXTRA),
        )
    import c2pa  # noqa: PLC0415  (optional, and large)

    return c2pa


def quiet_settings(anchors: str | None = None) -> dict[str, object]:
    """Return the library's settings; with trust anchors (PEM), signers are checked against them."""
    if anchors is None:
        return QUIET
    verify = {**dict(QUIET["verify"]), "verify_trust": True}  # type: ignore[call-overload]
    return {**QUIET, "verify": verify, "trust": {"trust_anchors": anchors}}
