"""Prepares a clip: copies the video, finds all faces, learns the mouth, and asks the pipeline's models."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import numpy as np

from client.chunks import IN_FLIGHT, chunk_frames
from client.errors import NoFaceError, OutputError
from client.flow import batched, ordered_map, prefetch
from client.media import TimelineFrame, VideoSource, hidden_stem, output_error, scan_frames, timeline
from client.options import END, FACE, START
from client.pipeline import FaceAnalysis
from client.pipelines.face_options import FACE_BOX
from client.prepared.clip import (
    ANALYSIS,
    FACES,
    FACES_PER_PART,
    MANIFEST,
    MOUTH,
    VIDEO_STEM,
    Manifest,
    is_own_file,
    pack_part,
    part_name,
)
from client.prepared.known import FacesOfFrame, Part, analyse_faces, analysis_part, faces_part
from client.prepared.options import PreparationOptions
from client.progress import JobProgress
from client.report import StageClock
from client.resume.work_folder import file_digest
from client.servers.calls import TritonCalls
from client.tracking.consecutive import open_finder
from client.tracking.faces import Face
from client.tracking.finder import FoundFrame, follow, needs_every_face
from client.tracking.follow import Observation
from client.tracking.mouth_scan import MouthProfiles
from lipsync_core.locks import lock_file

LOCK = "lock"
Item = TypeVar("Item")


@dataclass(frozen=True)
class Prepared:
    """What a preparation did.

    Attributes:
        folder: the prepared clip.
        model: the pipeline that it is for.
        frames: number of frames.
        frames_with_face: how many of them show the followed face.
        nbytes: size of the folder.
        warnings: what the user should know, one sentence each.
        seconds: how long it took.
    """

    folder: str
    model: str
    frames: int
    frames_with_face: int
    nbytes: int
    warnings: list[str]
    seconds: float

    def summary(self) -> str:
        """Describe it in a line, and in one for each warning."""
        line = (
            f"{Path(self.folder).name}: {self.frames} frames prepared for {self.model}, a face in"
            f" {self.frames_with_face}; {self.nbytes / 1e6:.0f} MB, made in {self.seconds:.1f} s"
        )
        return "\n".join([line, *(f"warning: {warning}" for warning in self.warnings)])


class Preparation:
    """A clip to prepare, its video copied and opened; a context manager that leaves no folder unless it finished."""

    def __init__(self, options: PreparationOptions, weights: Mapping[str, str]) -> None:
        """Copy and open the video, so that bad input is reported before any server starts.

        Args:
            options: what is to be prepared.
            weights: model -> hash of the notes on its weights; empty where they are not known.

        Raises:
            MediaError: the video cannot be used.
            OutputError: the folder cannot be written, or its name is taken.
            UsageError: an option's value does not fit the video.
        """
        self._options = options
        self._clock = StageClock()
        self._analysed_frames = 0
        VideoSource(options.video, options.values[START], options.values[END])  # before it is copied
        self._part = _HiddenFolder(options.folder)
        try:
            video = self._part.path / f"{VIDEO_STEM}{options.video.suffix.lower()}"
            self._part.write(lambda: shutil.copyfile(options.video, video))
            self._video = VideoSource(video, options.values[START], options.values[END])
            self._manifest = Manifest(options.kept_values, video.name, file_digest(video), weights)
        except BaseException:
            self._part.remove()
            raise

    def __enter__(self) -> Preparation:
        """Return the preparation itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove what an unfinished run wrote."""
        self._part.remove()

    def run(self, triton: TritonCalls, progress: JobProgress) -> Prepared:
        """Analyse the clip, and give the folder its name.

        Raises:
            NoFaceError: no frame shows the face.
            LipSyncError: anything else that keeps the folder from being complete.
        """
        started, values = time.perf_counter(), self._options.values
        progress.stage("scanning the clip")
        window_frames = chunk_frames(self._video.frame_bytes)
        sampled = scan_frames(self._video.path, values[START], values[END])
        profiles = MouthProfiles(triton, self._clock, sampled, {FACE: values[FACE]}, window_frames)
        mouth = profiles.of(FACE)
        if mouth is not None:
            self._write(MOUTH, 0, vars(mouth))
        progress.stage("preparing", self._video.frame_estimate)
        frames, with_face = self._analyse(triton, progress, window_frames)
        if not with_face:
            raise NoFaceError(f"no usable face in any of {frames} frames", about=self._options.video)
        self._manifest = replace(
            self._manifest, frames=frames, analysed=self._analysed_frames, has_mouth=mouth is not None
        )
        nbytes = self._part.finish(self._manifest.as_json())
        return Prepared(
            folder=str(self._options.folder),
            model=self._options.pipeline.name,
            frames=frames,
            frames_with_face=with_face,
            nbytes=nbytes,
            warnings=list(self._video.warnings),
            seconds=round(time.perf_counter() - started, 3),
        )

    def _analyse(self, triton: TritonCalls, progress: JobProgress, window_frames: int) -> tuple[int, int]:
        """Write all parts; returns the number of frames, and of those with the face."""
        analysis = self._options.make_analysis(triton)
        shown = timeline(self._video, 0.0, "cut", "keep")
        values = self._options.values
        every_face = needs_every_face([values[FACE]])
        finder = open_finder(triton, self._clock, self._options.detector, values[FACE_BOX], every_face=every_face)
        windows = prefetch(finder.windows(shown, window_frames), ahead=1)
        with closing(ordered_map(finder.find, windows, IN_FLIGHT, triton.cancel)) as searched:
            found = self._keep_faces(item for window in searched for item in window)
            observations: Iterable[Observation[TimelineFrame]] = follow(found, self._options.values[FACE])
            if analysis is not None:
                self._analysed_frames = analysis.chunk_frames
                observations = self._keep_analyses(triton, analysis, observations)
            return _count(observations, progress)

    def _keep_faces(
        self, found: Iterable[FoundFrame[TimelineFrame]]
    ) -> Generator[FoundFrame[TimelineFrame], None, None]:
        """Write the faces of all frames that pass; the frames themselves are not held."""
        rows: list[FacesOfFrame] = []
        count = 0
        for item in found:
            rows.append((item.faces, item.thumbnail))
            count += 1
            if len(rows) == FACES_PER_PART:
                self._write(FACES, (count - 1) // FACES_PER_PART, faces_part(rows))
                rows = []
            yield item
        if rows:
            self._write(FACES, (count - 1) // FACES_PER_PART, faces_part(rows))

    def _keep_analyses(
        self, triton: TritonCalls, analysis: FaceAnalysis, observations: Iterable[Observation[TimelineFrame]]
    ) -> Generator[Observation[TimelineFrame], None, None]:
        """Write what the models know of all frames that pass."""

        def analyse(batch: Sequence[Observation[TimelineFrame]]) -> Sequence[Observation[TimelineFrame]]:
            frames = [observation.frame for observation in batch if observation.face is not None]
            faces = [observation.face for observation in batch if observation.face is not None]
            number = batch[0].frame.index // analysis.chunk_frames
            self._write(ANALYSIS, number, _analysed(triton, analysis, frames, faces))
            return batch

        batches = batched(analysis.smooth(observations), analysis.chunk_frames)
        with closing(ordered_map(analyse, batches, IN_FLIGHT, triton.cancel)) as done:
            for batch in done:
                yield from batch

    def _write(self, kind: str, number: int, arrays: Mapping[str, np.ndarray]) -> None:
        packed = pack_part(self._manifest, kind, number, arrays)
        path = self._part.path / part_name(kind, number)
        self._part.write(lambda: path.write_bytes(packed))


def _analysed(
    triton: TritonCalls, analysis: FaceAnalysis, frames: Sequence[TimelineFrame], faces: Sequence[Face]
) -> Part:
    """Return one part of the analysis; it knows nothing of frames whose face is outside the picture."""
    if not frames:
        return analysis_part([], {}, {})
    places = analysis.places(faces)
    known = analyse_faces(triton, analysis, frames, places)
    return analysis_part([], {}, {}) if known is None else analysis_part([f.index for f in frames], places, known)


def _count(observations: Iterable[Observation[TimelineFrame]], progress: JobProgress) -> tuple[int, int]:
    frames = with_face = 0
    for observation in observations:
        frames += 1
        with_face += observation.face is not None
        progress.advance(1)
    return frames, with_face


class _HiddenFolder:
    """A hidden folder beside the final one, whose name it gets when it is complete. Locked while it is written."""

    def __init__(self, final: Path) -> None:
        """Create it; one that a killed run left is emptied.

        Raises:
            OutputError: it cannot be created, the final name is taken, or another process prepares the same clip.
        """
        self._name = final  # as people wrote it
        self._is_open = False
        self.write(self._place)
        self.write(self._open)

    def write(self, action: Callable[[], object]) -> None:
        """Do something that writes into the folder.

        Raises:
            OutputError: the disk does not take it.
        """
        try:
            action()
        except OSError as error:
            raise output_error(self._name, error) from error

    def finish(self, manifest: str) -> int:
        """Write the manifest, give the folder its name, and return its size; an older prepared clip is replaced."""
        files = [file for file in self.path.iterdir() if file.name != LOCK]
        nbytes = len(manifest) + sum(file.stat().st_size for file in files)

        def rename() -> None:
            (self.path / MANIFEST).write_text(manifest, encoding="utf-8")
            if self._final.is_dir():
                self._drop(self._old)
                os.replace(self._final, self._old)
            os.replace(self.path, self._final)
            (self._final / LOCK).unlink()
            self._is_open = False
            self._drop(self._old)

        self.write(rename)
        self._lock.close()
        return nbytes

    def remove(self) -> None:
        """Remove it, unless it has got its name."""
        if self._is_open:
            self._is_open = False
            with suppress(OSError):
                if self._old.is_dir() and not self._final.exists():
                    os.replace(self._old, self._final)
                shutil.rmtree(self.path)
            self._lock.close()

    def _place(self) -> None:
        """Choose the hidden names, and check that the final one is free."""
        self._final = final = self._name.resolve()
        self.path, self._old = (final.with_name(f"{hidden_stem(final)}.{kind}") for kind in ("preparing", "replaced"))
        if not final.parent.is_dir():
            raise OutputError(
                about=self._name, expected="an existing folder", got=final.parent, advice="Create it first"
            )
        if final.exists() and (final.is_mount() or not _is_prepared(final)):
            raise OutputError(
                about=self._name, expected="a new folder, or a prepared clip to replace", got="something else"
            )

    def _open(self) -> None:
        self.path.mkdir(exist_ok=True)
        self._lock = (self.path / LOCK).open("w")
        try:
            lock_file(self._lock.fileno())
        except BlockingIOError:
            self._lock.close()
            raise OutputError(
                about=self._name, expected="a clip that nobody prepares", got="another process at work on it"
            ) from None
        except OSError:
            pass  # a disk without locks
        self._is_open = True
        for file in self.path.iterdir():
            if file.name != LOCK:
                file.unlink()

    def _drop(self, folder: Path) -> None:
        """Remove an older prepared clip."""
        with suppress(FileNotFoundError):
            shutil.rmtree(folder)


def _is_prepared(folder: Path) -> bool:
    """Say whether a folder is a prepared clip of any version, with nothing else in it; an empty one counts."""
    if not folder.is_dir():
        return False
    files = list(folder.iterdir())
    return not files or (folder / MANIFEST in files and all(file.is_file() and is_own_file(file) for file in files))
