"""Plans one job against the user's servers or an embedded one; `lipsync plan` and services call it."""

from __future__ import annotations

import time
from pathlib import Path

from client.chunks import chunk_frames
from client.errors import UsageError
from client.job_options import JobOptions
from client.lanes.auto import FoundLanes, find_auto_faces
from client.lanes.lane import plan_lanes
from client.media import AudioSource, VideoSource
from client.options import END, START
from client.pipelines import DEFAULT_PIPELINE
from client.pipelines.face_options import FACE_BOX
from client.pipelines.voice import VOICE_MODEL
from client.progress import JobProgress
from client.report import StageClock
from client.scene.contact_sheet import contact_sheet
from client.scene.media_checks import check_job
from client.scene.options import SPEAKING
from client.scene.plan import JOB_PER_ANALYSIS, Plan, Turn, boxes_of, make_plan
from client.scene.scene import Segment, Speaker, TimeSpan
from client.servers.access import ServerAccess
from client.servers.calls import TritonCalls
from client.servers.embedded import open_pool
from client.sound.job_sound import open_sound
from client.syncnet.served import syncnet_to_serve
from client.tracking.consecutive import open_finder

ALWAYS = Segment(TimeSpan(0.0))


def plan_job(options: JobOptions, access: ServerAccess, repository: Path, progress: JobProgress) -> tuple[Plan, bytes]:
    """Plan a job, and draw its contact sheet; nothing is written.

    Args:
        options: the job; its output is not touched.
        access: the servers; without URLs one is started.
        repository: the models of a server that is started.
        progress: is told the stages and frames.

    Raises:
        LipSyncError: the media cannot be used, or the server fails.
    """
    if options.values[FACE_BOX] is not None:
        raise UsageError(
            option=FACE_BOX.name, expected="faces that are to be found", got="a box", advice="Leave it out"
        )
    video = VideoSource(options.video, options.values[START], options.values[END])
    with open_sound(options.scene, options.values, video, options.output) as sound:
        check_job(options, video, sound.duration_s)
        progress.stage("connecting" if access.urls else "starting the server")
        optional = syncnet_to_serve(repository) if options.values[SPEAKING] == "syncnet" else ()
        models = (options.detector.model, VOICE_MODEL, *optional)
        with open_pool(access, repository, models) as (pool, _):
            plan = plan_scene(pool, options, video, sound.voices, progress)
    progress.stage("drawing the contact sheet")
    names = tuple(speaker.name for speaker in options.scene.speakers)
    return plan, contact_sheet(plan, video, names)


def plan_scene(
    triton: TritonCalls,
    options: JobOptions,
    video: VideoSource,
    voices: tuple[AudioSource, ...],
    progress: JobProgress,
) -> Plan:
    """Plan a job on connected servers; `voices` has the voice of each speaker."""
    scene = options.scene
    finder = open_finder(triton, StageClock(), options.detector, every_face=True)
    started = time.perf_counter()
    found = find_auto_faces(
        triton,
        finder,
        video,
        scene,
        plan_lanes(scene, options.values),
        voices,
        window_frames=chunk_frames(video.frame_bytes),
        progress=progress,
        speaking=options.values[SPEAKING],
    )
    taken_s = time.perf_counter() - started
    known = all(pipeline.name == DEFAULT_PIPELINE.name for pipeline in options.pipelines)
    turns = [
        [_turn(i, speaker, segment, found) for segment in speaker.segments or (ALWAYS,)]
        for i, speaker in enumerate(scene.speakers)
    ]
    return make_plan(scene, turns, found.active, round(JOB_PER_ANALYSIS * taken_s, 1) if known else None)


def _turn(position: int, speaker: Speaker, segment: Segment, found: FoundLanes) -> Turn:
    face = segment.face or speaker.face
    boxes = next((where for plan, where in found.given if plan.link == (position, face)), None)
    return Turn(segment.span, face, None if boxes is None else boxes_of(boxes, found.active), segment.options)
