"""What a job's report says of its provenance."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ProvenanceReport:
    """How a result can be recognised as generated.

    Attributes:
        is_marked: whether its changed regions carry the mark.
        signed_by: whom the certificate names that signed it; None if it is not signed.
        signed_at: when, by the clock of the machine that signed, in ISO 8601; None if it is not signed.
        timestamped_by: address of the timestamp authority; None for no timestamp.
        sidecar: the file with its credentials; None if the result holds them itself or is not signed.
        label: the visible label; None for none.
    """

    is_marked: bool = False
    signed_by: str | None = None
    signed_at: str | None = None
    timestamped_by: str | None = None
    sidecar: str | None = None
    label: str | None = None

    @property
    def is_notable(self) -> bool:
        """Whether there is anything by which the result can be recognised."""
        return self.is_marked or self.signed_by is not None or self.label is not None

    def sentence(self) -> str:
        """Return one line of text."""
        mark = "marked" if self.is_marked else "not marked"
        if self.signed_by is None:
            return f"{mark}, not signed, as no certificate was given"
        time = f", with a timestamp of {self.timestamped_by}" if self.timestamped_by else ""
        place = f"; its credentials are in {self.sidecar}" if self.sidecar else ""
        return f"{mark}, signed by {self.signed_by}{time}{place}"
