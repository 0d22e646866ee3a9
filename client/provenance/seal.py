"""Signs a complete output while it still has its hidden name; nothing half-signed appears under the final one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from client.errors import OutputError, ref
from client.media.output import PendingFile, output_error
from client.provenance.credentials import Credentials
from client.provenance.manifest import Input
from client.provenance.options import TIMESTAMP_URL
from client.provenance.package import c2pa_package
from client.provenance.signing import holds_manifest, sidecar_of, sign_beside, sign_into

TIMESTAMP_WORDS = ("imestamp", "http resolver")  # in what c2pa-python says of an authority that fails


@dataclass(frozen=True)
class Seal:
    """Signs one output; see `VideoWriter.close`.

    Attributes:
        definition: the manifest.
        inputs: its ingredients.
        by: the credentials.
    """

    definition: dict[str, object]
    inputs: Sequence[Input]
    by: Credentials

    def __call__(self, pending: PendingFile) -> PendingFile:
        """Return the signed file, still hidden; the unsigned one is removed.

        Raises:
            OutputError: it cannot be signed.
        """
        try:
            if holds_manifest(pending.path):
                return self._embed(pending)
            self._put_beside(pending)
            return pending
        except c2pa_package().C2paError as error:
            raise self._refusal(pending.path, error) from error
        except OSError as error:
            raise output_error(pending.path, error) from error

    def _embed(self, pending: PendingFile) -> PendingFile:
        signed = PendingFile(pending.path)
        try:
            sign_into(pending.part, signed.part, pending.path.suffix.lower(), self.definition, self.inputs, self.by)
        except BaseException:
            signed.discard()
            raise
        pending.discard()
        return signed

    def _put_beside(self, pending: PendingFile) -> None:
        """Write the sidecar first: without its file it is no harm, while the file without it would be unsigned."""
        content = sign_beside(pending.part, self.definition, self.inputs, self.by)
        sidecar = PendingFile(sidecar_of(pending.path))
        try:
            sidecar.part.write_bytes(content)
            sidecar.publish()
        except BaseException:
            sidecar.discard()
            raise

    def _refusal(self, path: Path, error: Exception) -> OutputError:
        url = self.by.timestamp_url
        if url is not None and any(word in f"{type(error).__name__} {error}" for word in TIMESTAMP_WORDS):
            advice = f"Check {ref(TIMESTAMP_URL.name)}, or leave it out"
            return OutputError(
                f"cannot be signed: the timestamp authority {url} gave no timestamp", about=path, advice=advice
            )
        return OutputError(f"cannot be signed: {error}", about=path, advice="Check the credentials")


def drop_sidecar(path: Path) -> None:
    """Remove the sidecar of an output that is written again without credentials: it speaks of the file before."""
    with suppress(OSError):
        sidecar_of(path).unlink()
