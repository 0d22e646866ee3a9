"""A job's provenance: treats its pictures, notes what was changed, and signs the complete output."""

from __future__ import annotations

import datetime

from client.job_options import JobOptions
from client.lanes.stage import DrawnFrame
from client.media import Picture
from client.media.output import PendingFile
from client.pipelines.seed_options import SEED
from client.provenance.credentials import find_credentials
from client.provenance.label import Label
from client.provenance.manifest import MAX_SPANS, Input, Statement
from client.provenance.mark.embed import Marker
from client.provenance.options import LABEL, is_marking
from client.provenance.packets import PacketDigests
from client.provenance.report import ProvenanceReport
from client.provenance.seal import Seal, drop_sidecar
from client.provenance.signing import holds_manifest, sidecar_of
from client.report import Report
from client.servers.calls import TritonCalls
from lipsync_core.reasons import Reason

SAME_TIME_S = 1e-3


class JobProvenance:
    """What becomes of a job's pictures and output beside the lip-sync."""

    def __init__(self, options: JobOptions) -> None:
        """Read the credentials, so that bad ones are reported before anything else is done.

        Raises:
            UsageError: the credentials or options cannot be used.
        """
        self._options = options
        self._credentials = find_credentials(options.values)
        self._marker = Marker() if is_marking(options.values) else None
        text = options.values[LABEL]
        self._label = None if text is None else Label(text)
        self._changed: list[list[float]] = []
        self._frames = 0

    def treat(self, frame: DrawnFrame) -> Picture:
        """Return the picture to encode, marked where it was changed; called for each frame of the output in order."""
        if frame.reason is Reason.CHANGED:
            self._note(frame.shown.time_s, frame.shown.time_s + frame.shown.duration_s)
            if self._marker is not None:
                self._marker.mark(frame.shown.picture, frame.picture, self._frames)
        self._frames += 1
        return frame.picture if self._label is None else self._label.draw(frame.picture)

    def seal(self, pending: PendingFile, triton: TritonCalls, report: Report) -> PendingFile:
        """Sign the complete output, and report it; see `VideoWriter.close`.

        Raises:
            OutputError: it cannot be signed.
            MediaError: an input can no longer be read.
        """
        by, output, made_at = self._credentials, pending.path, datetime.datetime.now(datetime.UTC)
        sidecar = None if by is None or holds_manifest(output) else sidecar_of(output)
        if sidecar is None:
            drop_sidecar(output)
        if by is not None:
            inputs = self._inputs()
            pending = Seal(self._statement(pending, inputs, triton, report, made_at).definition(), inputs, by)(pending)
        report.provenance = ProvenanceReport(
            is_marked=self._is_marked,
            signed_by=None if by is None else by.signer,
            signed_at=None if by is None else made_at.isoformat(timespec="seconds"),
            timestamped_by=None if by is None else by.timestamp_url,
            sidecar=None if sidecar is None else str(sidecar),
            label=self._options.values[LABEL],
        )
        return pending

    @property
    def _is_marked(self) -> bool:
        """Whether any frame carries the mark."""
        return self._marker is not None and bool(self._changed)

    def _note(self, start_s: float, end_s: float) -> None:
        spans = self._changed
        if spans and abs(spans[-1][1] - start_s) < SAME_TIME_S:
            spans[-1][1] = round(end_s, 3)
        elif len(spans) < MAX_SPANS:
            spans.append([round(start_s, 3), round(end_s, 3)])

    def _inputs(self) -> list[Input]:
        """Hash the files that the result was made from."""
        source = Input.read(self._options.video, "source")
        return [source, *(Input.read(path, "voice") for path in self._options.scene.files)]

    def _statement(
        self, pending: PendingFile, inputs: list[Input], triton: TritonCalls, report: Report, made_at: datetime.datetime
    ) -> Statement:
        options = self._options
        return Statement(
            title=pending.path.name,
            pipeline=options.pipeline.name,
            models={model: triton.identity(model) for model in options.needed_models},
            seed=options.values[SEED] if SEED in options.pipeline.options else None,
            inputs=inputs,
            changed=self._changed,
            changed_frames=report.frames_synced,
            frames=report.frames,
            duration_s=report.duration_s,
            size=(report.width, report.height),
            is_marked=self._is_marked,
            pictures=PacketDigests.of_file(pending.part).as_json(),
            made_at=made_at,
        )
