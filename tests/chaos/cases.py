"""All cases, as data."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from tests.chaos import clusters, faults, media, storages
from tests.chaos.case import Case
from tests.media_clips import tone

DONE, USAGE, MEDIA, NO_FACE, SERVER, REQUEST, OUTPUT, FAILED = 0, 2, 3, 4, 5, 6, 7, 8  # exit codes; see lipsync --help
SHORT = ("--if-audio-longer", "cut")
LONG = ("--fps", "50")  # some 470 frames of speech: long enough to be caught at work
RESUMED = (*LONG, "--resume")
ON_RAY = (*LONG, "--no-resume")
IN_MESSAGES = (*SHORT, "--transport", "grpc")  # Triton's models pass all tensors through /dev/shm even so
ENDED_BY_RAY = 1  # of a program whose head has become another cluster's
EARLIER = b"what was there before"
VIDEO, MKV, LAST_WAV = media.clip(), media.clip(".mkv"), media.sound(partial(tone, 1.5))
ONE_SAMPLE, TEN_MS = 1, 160


def beside_an_earlier_file(folder: Path) -> Path:
    """Name an output that exists already."""
    path = folder / "out.mp4"
    path.write_bytes(EARLIER)
    return path


def named(name: str) -> Callable[[Path], Path]:
    """Name an output that does not exist yet."""
    return lambda folder: folder / name


def link(folder: Path) -> Path:
    """Name an output that is a link to a file elsewhere."""
    path = folder / "out.mp4"
    path.symlink_to("linked.mp4")
    return path


def one_of_the_inputs(folder: Path) -> Path:
    """Name the video itself."""
    path = folder / "out.mp4"
    os.link(folder.parent / "inputs" / "video.mp4", path)
    return path


def a_folder(folder: Path) -> Path:
    """Name a folder."""
    path = folder / "out.mp4"
    path.mkdir()
    return path


case = partial(Case, video=VIDEO, audio=media.speech, output=beside_an_earlier_file)
with_media = partial(case, serve=faults.shared, options=SHORT)
at_work = partial(case, serve=faults.embedded, options=LONG)

GOOD_BUT_ODD = [
    with_media("video: the one undisturbed case", (DONE,), same=True),
    with_media("video: mkv named .mp4", (DONE,), video=media.renamed(MKV, "video.mp4")),
    with_media("video: one frame", (DONE,), video=media.clip(frames=1)),
    with_media("video: variable frame rate", (DONE,), video=media.timed([0, 40, 45, 200, 201, 333, 700, 1000])),
    with_media("video: starts at 100 s", (DONE,), video=media.timed(range(100_000, 101_600, 40))),
    with_media("video: no timestamps", (DONE,), video=media.clip(".h264")),
    with_media("video: clock jump in TS", (DONE,), video=media.joined_with_a_jump, shorter_than_s=10),
    with_media("video: odd width and height", (DONE,), video=media.odd_size),
    with_media("video: 10 bits", (DONE,), video=media.clip(".mkv", codec="ffv1", pix_fmt="yuv420p10le")),
    with_media("speech: 8 channels", (DONE,), audio=media.eight_channels),
    with_media("speech: silence", (DONE,), audio=media.sound(lambda: np.zeros(24_000, np.float32))),
    with_media("speech: 10 ms", (DONE,), audio=media.sound(lambda: tone(1.0)[:TEN_MS]), options=()),
    with_media("speech: one sample", (DONE, MEDIA), audio=media.sound(lambda: tone(1.0)[:ONE_SAMPLE]), options=()),
]

DAMAGED = [
    with_media("video: mp4 cut at 1 %", (MEDIA,), video=media.truncated(VIDEO, 0.01)),
    with_media("video: mp4 cut at 90 %, its index lost", (MEDIA,), video=media.truncated(VIDEO, 0.9)),
    with_media("video: mkv cut at 1 %", (MEDIA,), video=media.truncated(MKV, 0.01)),
    with_media("video: mkv cut at 50 %", (DONE,), video=media.truncated(MKV, 0.5)),
    with_media("video: mkv cut at 95 %", (DONE,), video=media.truncated(MKV, 0.95)),
    with_media("speech: wav cut within its header", (MEDIA,), audio=media.truncated(LAST_WAV, 0.0005)),
    with_media("speech: wav cut at 50 %", (DONE,), audio=media.truncated(LAST_WAV, 0.5)),
    *(
        with_media(f"{what}: bits flipped, seed {seed}", (DONE, MEDIA, NO_FACE), **{kind: media.flipped(make, seed)})
        for what, kind, make in (
            ("video: mp4", "video", VIDEO),
            ("video: mkv", "video", MKV),
            ("speech: flac", "audio", media.speech),
        )
        for seed in (1, 2, 3)
    ),
]

NOT_MEDIA = [
    with_media(f"video: {name}", (MEDIA,), video=make)
    for name, make in {
        "empty file": media.content("video.mp4", b""),
        "text": media.content("video.mp4", b"not a video\n" * 100),
        "missing": lambda folder: folder / "video.mp4",
        "folder": media.folder_for_a_file,
        "named pipe": media.pipe_for_a_file,
        "device": lambda folder: Path("/dev/zero"),
        "sound alone": media.sound_without_a_picture,
        "no frames": media.without_frames,
        "PNG of 100000x100000": media.content("video.png", media.huge_png()),
        "PNG of 16000x16000": media.large_png,
        "y4m of 100000x100000": media.content("video.y4m", media.huge_y4m()),
        "playlist of a local file": media.playlist_of("/etc/hostname"),
        "playlist of an address": media.playlist_of("http://127.0.0.1:9/video.ts"),
        "concat list of a good video": media.concat_of(MKV),
        "session description": media.session_description,
    }.items()
] + [
    with_media("speech: a video without sound", (MEDIA,), audio=media.clip(".mov")),
    with_media("speech: playlist of a local file", (MEDIA,), audio=media.playlist_of("/etc/hostname")),
]

OUTPUTS = [
    with_media("output: a link to elsewhere", (DONE,), output=link),
    with_media("output: odd characters", (DONE,), output=named("-ä %03d 'x' \"y\" [1] $(z).mp4")),
    with_media("output: folder is absent", (OUTPUT,), output=named("absent/out.mp4"), says="Create it first"),
    with_media("output: is a folder", (OUTPUT,), output=a_folder),
    with_media("output: is the video", (OUTPUT,), output=one_of_the_inputs, says="one of the inputs"),
    with_media("output: unknown extension", (USAGE,), output=named("out.xyz")),
    with_media("output: disk is read-only", (OUTPUT,), launch=faults.small_output_disk("ro")),
    with_media("output: two jobs at once", (DONE,), options=LONG, fault=faults.second_job, after=1, same=True),
]

WIRE = [
    case("server: nobody at the port", (SERVER,), faults.nobody),
    case("server: another program at the port", (SERVER,), faults.web_server),
    case("server: port accepts and is silent", (SERVER,), faults.silent_port),
    case("server: TLS to a plain port", (SERVER,), faults.shared_by_tls),
    case("server: a name that is none", (SERVER,), lambda scene: ("--url", "no-such-host.invalid:8001")),
]

kill, freeze = faults.signal_server(signal.SIGKILL), faults.signal_server(signal.SIGSTOP)
at_servers = partial(case, options=LONG, same=True)
FAILING_SERVERS = [
    at_servers("server: the only one killed", (DONE,), faults.servers(1), fault=kill),
    at_servers("server: one of three killed", (DONE,), faults.servers(3), fault=kill),
    at_servers("server: one of three frozen", (DONE,), faults.servers(3), fault=freeze),
    at_servers("server: the only one frozen", (DONE,), faults.servers(1, "--timeout=5"), fault=freeze, timeout_s=240),
    at_servers("server: frozen for 8 s, then alive", (DONE,), faults.servers(1), fault=faults.thaw_later),
    at_servers("server: paused for 8 s with all around it", (DONE,), faults.servers(1), fault=faults.resume_later),
    at_servers("server: one of two slow", (DONE,), faults.servers(2), fault=faults.slow_down, after=4),
    at_servers("server: a model's process killed", (DONE,), faults.servers(1), fault=faults.kill_stub),
    at_servers("server: the same, with two servers", (DONE,), faults.servers(2), fault=faults.kill_stub),
    at_servers("server: a network's process killed", (DONE,), faults.servers(1), fault=faults.kill_network),
    at_servers("server: a network's process dead before the job", (DONE,), faults.server_that_lost_a_network),
    at_work("embedded server: killed, then resumed", (SERVER,), options=RESUMED, same=True, again=True,
            fault=faults.kill_embedded("tritonserver")),
    at_work("embedded server: a model's process killed", (SERVER,), fault=faults.kill_embedded(faults.STUB),
            says="since the process of its model"),
    at_work("embedded server: a network's process killed", (SERVER,), fault=faults.kill_embedded_network,
            says="since the process of its model face_"),
    at_work("embedded server: no more memory at work", (DONE, SERVER, REQUEST), fault=faults.deny_memory),
    at_work("memory: 2 GB of addresses from the start", (SERVER,), launch=faults.limited(**{"as": 2 << 30})),
]  # fmt: skip

ENDED_CLIENTS = [
    at_work(f"client: {number.name}, then resumed", (code,), options=RESUMED, same=True, again=True,
            fault=faults.signal_client(number))
    for number, code in {
        signal.SIGKILL: -signal.SIGKILL,
        signal.SIGTERM: 128 + signal.SIGTERM,
        signal.SIGINT: 128 + signal.SIGINT,
        signal.SIGHUP: 128 + signal.SIGHUP,
    }.items()
]  # fmt: skip
ENDED_CLIENTS += [
    replace(ended, name=ended.name.replace(", then resumed", ", running server"), serve=faults.shared)
    for ended in ENDED_CLIENTS[:2]
]

FULL = [
    case("disk: full at work", (OUTPUT,), faults.shared, options=LONG, launch=faults.small_output_disk("size=200k"),
         says="disk is full"),
    case("disk: file size limited", (OUTPUT,), faults.shared, options=(*LONG, "--lossless"),
         launch=faults.limited(fsize=1_000_000), says="grew larger"),  # the decoded audio fits
    case("disk: file size limited from the start", (OUTPUT,), faults.shared, options=LONG,
         launch=faults.limited(fsize=200_000), says="no room for the decoded audio"),
    case("disk: no room for finished parts", (DONE,), faults.shared, options=RESUMED, same=True,
         launch=faults.small_output_disk("size=20m")),
    at_work("shared memory: full from the start", (SERVER,), launch=faults.shared_memory_of("64k"), says="/dev/shm"),
    at_work("shared memory: read-only", (SERVER,), launch=faults.shared_memory_of("64m", "ro"), says="read-only"),
    at_work("shared memory: 64 MB, Docker's default", (DONE,), launch=faults.shared_memory_of("64m"), options=SHORT,
            video=media.close_up(848, 480)),
    at_work("shared memory: 64 MB, frames in messages", (DONE,), launch=faults.shared_memory_of("64m"),
            options=IN_MESSAGES, video=media.close_up(848, 480)),
    at_work("shared memory: full from the start, frames in messages", (SERVER,), options=IN_MESSAGES,
            launch=faults.shared_memory_of("64k"), says="/dev/shm"),
    at_work("shared memory: full at work", (DONE, SERVER), launch=faults.shared_memory_of("1g"),
            fault=faults.fill_shared_memory, after=2),
]  # fmt: skip

AROUND = [
    at_work("proxy: a dead one in the environment", (DONE,), options=SHORT, launch=faults.behind_dead_proxy, same=True),
    with_media("proxy: the same, running server", (DONE,), launch=faults.behind_dead_proxy, same=True),
    with_media("proxy: dead, server elsewhere", (SERVER,), serve=faults.elsewhere, launch=faults.behind_dead_proxy,
               says="the proxy"),
    with_media("terminal: stdout and stderr closed", (DONE,), launch=faults.in_shell(faults.IN_CLOSED_TERMINAL),
               same=True),
    with_media("terminal: stdout and stderr full", (DONE,), launch=faults.in_shell(faults.IN_FULL_TERMINAL), same=True),
    at_work("terminal: closed, server of its own", (DONE,), options=SHORT,
            launch=faults.in_shell(faults.IN_CLOSED_TERMINAL), same=True),
]  # fmt: skip

at_any_time = partial(case, options=LONG, launch=faults.moved_clock, same=True)
CLOCKS = [
    at_any_time("clock: two hours ahead at work", (DONE,), faults.shared, fault=faults.move_clock(7200)),
    at_any_time("clock: two hours back at work", (DONE,), faults.shared, fault=faults.move_clock(-7200)),
    at_any_time("clock: a day ahead, three servers", (DONE,), faults.servers(3), fault=faults.move_clock(86_400)),
]

on_ray = partial(case, command=clusters.batch_of_one, options=ON_RAY, after=0, timeout_s=240)
RAY = [
    on_ray("ray: not installed", (USAGE,), clusters.auto, launch=clusters.without_ray, says="lipsync-triton[ray]"),
    on_ray("ray: nobody at the address", (SERVER,), clusters.no_cluster, says="nothing answers"),
    on_ray("ray: two submitters of one batch", (DONE,), clusters.nodes("second"), fault=clusters.second_submitter,
           same=True),
    on_ray("ray: a job's process killed twice", (DONE,), clusters.nodes("second"), fault=clusters.kill_job(2),
           same=True),
    on_ray("ray: a job's process killed three times, then run again", (FAILED,), clusters.nodes("second"),
           fault=clusters.kill_job(3), again=True, same=True, says="1 of 1 jobs failed"),
    on_ray("ray: the worker around a job killed", (DONE,), clusters.nodes("second"), fault=clusters.kill_worker,
           same=True),
    on_ray("ray: a node killed", (DONE,), clusters.nodes("second", "third"), fault=clusters.kill_node, same=True),
    on_ray("ray: a node frozen for 20 s", (DONE,), clusters.nodes("second", "third"), fault=clusters.freeze_node,
           same=True),
    on_ray("ray: disk full on a node", (FAILED,), clusters.node_with_small_disk("200k"),
           fault=clusters.wait_for_report("the disk is full"), says="1 of 1 jobs failed"),
    on_ray("ray: the head killed while a job ends", (DONE,), clusters.nodes("second"), fault=clusters.kill_head,
           same=True),
    on_ray("ray: the head killed for longer", (SERVER,), clusters.nodes("second"), fault=clusters.kill_head_in_a_job,
           says="is gone. Start it again"),
    on_ray("ray: all killed and back, then run again", (ENDED_BY_RAY, SERVER), clusters.nodes("second"),
           fault=clusters.restart_all, again=True, same=True),
]  # fmt: skip

on_storage = partial(case, command=storages.batch_of_urls, options=ON_RAY, timeout_s=240)
on_service = partial(case, serve=storages.service, program=storages.CLIENT, command=storages.web_job, after=0,
                     timeout_s=240, output=named("out.mp4"))  # fmt: skip
STORAGE = [
    on_storage("storage: away while a batch begins", (DONE,), storages.away, fault=storages.come_back, after=0,
               same=True),
    on_storage("storage: away while a result is stored", (DONE,), storages.here, fault=storages.go_until_result,
               same=True),
    on_storage("storage: frozen while a result is stored", (DONE,), storages.here, fault=storages.freeze_for_result,
               same=True),
    on_storage("storage: away for too long, then run again", (FAILED,), storages.here, fault=storages.go_for_good,
               again=True, same=True, says="1 of 1 jobs failed"),
    on_storage("storage: away while a batch asks what is done", (DONE,), storages.here, fault=storages.ask_while_away,
               same=True),
    on_service("storage: away while the web service takes an upload", (DONE,), fault=storages.go_while_uploaded),
    on_service("storage: away while the web service runs a job", (DONE,), fault=storages.go_while_it_runs),
    on_service("storage: away while the web service serves a result", (DONE,), fault=storages.go_while_served),
]  # fmt: skip

CASES: tuple[Case, ...] = (
    *GOOD_BUT_ODD, *DAMAGED, *NOT_MEDIA, *OUTPUTS, *WIRE, *FAILING_SERVERS, *ENDED_CLIENTS, *FULL, *AROUND, *CLOCKS,
    *RAY, *STORAGE,
)  # fmt: skip
