"""The web service with Triton on one of Modal's GPUs, and a benchmark over several kinds of them.

modal deploy docker/modal_app.py                                        # the page; prints its address
modal run docker/modal_app.py --video in.mp4 --audio speech.wav         # benchmarks A100, L4 and H100

Before: `modal secret create lipsync-web LIPSYNC_WEB_TOKENS=NAME:TOKEN`, as the page is public. For Wav2Lip and
LatentSync, `modal volume create lipsync-models` and `modal volume put lipsync-models model_repository models` with your
exported models; without, mouth-motion is served. Jobs lie on the container's own disk and end with it: it stays while
somebody follows a job, and for a quarter of an hour after. Not run on Modal yet; its app graph is tested.
"""

from __future__ import annotations

import http.client
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import modal

ROOT = Path(__file__).resolve().parent.parent
SOURCE = "/opt/lipsync"  # where Dockerfile.triton lays the project
IMAGE_MODELS, VOLUME_MODELS = Path("/models"), Path("/volume/models")
GPU = "L4"
BENCHMARK_GPUS = "A100,L4,H100"
PAGE_PORT, HEALTH_PORT, TRITON_URL = 8080, 8000, "127.0.0.1:8001"
MINUTE_S = 60
START_TIMEOUT_S = 60 * MINUTE_S  # a flavour may compile at its first start
IDLE_S = 15 * MINUTE_S
LONGEST_S = 24 * 60 * MINUTE_S
REQUESTS_AT_ONCE = 200  # pages that follow their jobs
POLL_S = 1.0
RESULT_FILES = ("results.json", "results.csv")

image = (
    modal.Image.from_dockerfile(ROOT / "docker" / "Dockerfile.triton", context_dir=ROOT)
    .dockerfile_commands("USER root", "ENTRYPOINT []")
    .run_commands(f"cd {SOURCE} && python3 -m pip install --no-cache-dir -c constraints.txt '.[web]'")
)
app = modal.App("lipsync", image=image)
models = modal.Volume.from_name("lipsync-models", create_if_missing=True)
tokens = modal.Secret.from_name("lipsync-web", required_keys=["LIPSYNC_WEB_TOKENS"])


@app.function(
    gpu=GPU,
    volumes={str(VOLUME_MODELS.parent): models},
    secrets=[tokens],
    max_containers=1,
    scaledown_window=IDLE_S,
    timeout=LONGEST_S,
)
@modal.concurrent(max_inputs=REQUESTS_AT_ONCE)
@modal.web_server(PAGE_PORT, startup_timeout=START_TIMEOUT_S)
def web() -> None:
    """Serve the page and the API."""
    start_triton()
    service = [sys.executable, "-m", "client.web", "--host=0.0.0.0", f"--port={PAGE_PORT}", f"--url={TRITON_URL}"]
    # Modal's own proxy is all that reaches the container, under the name that it was deployed as
    subprocess.Popen([*service, "--data=/data", "--allowed-host=*", "--trusted-proxy=*"])


@app.function(volumes={str(VOLUME_MODELS.parent): models}, timeout=LONGEST_S, max_containers=1)
def benchmark(video: bytes, audio: bytes, video_suffix: str, audio_suffix: str, runs: int) -> dict[str, str]:
    """Measure whole jobs of every model on this container's GPU; returns the result files' texts by name."""
    start_triton()
    folder = Path(tempfile.mkdtemp())
    files = (folder / f"video{video_suffix}", folder / f"speech{audio_suffix}")
    for file, content in zip(files, (video, audio), strict=True):
        file.write_bytes(content)
    output = folder / "benchmark"
    measure = [sys.executable, "-m", "perf", "benchmark", f"--sample=yours={files[0]},{files[1]}"]
    pipelines = ["--pipelines", *served_pipelines()]
    subprocess.run(
        [*measure, f"--runs={runs}", f"--output={output}", *pipelines, "--", "--url", TRITON_URL], check=False
    )
    return {name: (output / name).read_text() for name in RESULT_FILES if (output / name).is_file()}


@app.local_entrypoint()
def compare_gpus(
    video: str, audio: str, gpus: str = BENCHMARK_GPUS, runs: int = 3, output: str = "build/modal"
) -> None:
    """Run the benchmark on each kind of GPU at once, and write the results into a folder each.

    Args:
        video: the sample's video.
        audio: its speech.
        gpus: Modal's names, separated by commas.
        runs: number of runs of each row.
        output: the folder; compare with `python -m perf report OUTPUT/*`.
    """
    sample = (Path(video).read_bytes(), Path(audio).read_bytes(), Path(video).suffix, Path(audio).suffix, runs)
    calls = {gpu: benchmark.with_options(gpu=gpu).spawn(*sample) for gpu in gpus.split(",")}
    failed = []
    for gpu, call in calls.items():
        folder = Path(output) / gpu
        folder.mkdir(parents=True, exist_ok=True)
        results = call.get()
        for name, text in results.items():
            (folder / name).write_text(text)
        if not results:
            failed.append(gpu)
        print(f"{gpu}: {'no results; see the log above' if gpu in failed else folder}")
    if failed:
        raise SystemExit(f"no results from {', '.join(failed)}")


def start_triton() -> None:
    """Start the image's Triton with the volume's models, else the image's own, and wait until it is ready.

    Raises:
        RuntimeError: it ended, or was not ready in time.
    """
    folder = models_folder()
    launch = [sys.executable, "-m", "lipsync_core.serving.launch", f"--model-repository={folder}"]
    server = subprocess.Popen(launch)
    deadline = time.monotonic() + START_TIMEOUT_S
    while not is_ready():
        if server.poll() is not None or time.monotonic() > deadline:
            server.kill()
            raise RuntimeError("Triton: expected it to be ready, got none. Its log is above")
        time.sleep(POLL_S)


def models_folder() -> Path:
    """Return the folder of the models to be served."""
    return VOLUME_MODELS if any(VOLUME_MODELS.glob("*/config.pbtxt")) else IMAGE_MODELS


def served_pipelines() -> list[str]:
    """Return the names of the pipelines whose networks are all exported."""
    # the project is in the image, not where Modal's command runs
    from client.offer import offers_of_repository  # noqa: PLC0415
    from lipsync_core.repository import exported_models  # noqa: PLC0415
    from lipsync_core.serving.flavours import AUTO, choose_flavour  # noqa: PLC0415
    from lipsync_core.serving.gpus import visible_gpus  # noqa: PLC0415

    folder = models_folder()
    flavour = choose_flavour(AUTO, folder, None, visible_gpus()).flavour  # as the server chooses it
    offers = offers_of_repository(folder, exported_models(folder, flavour), flavour)
    return [offer.pipeline.name for offer in offers if offer.is_ready]


def is_ready() -> bool:
    """Ask Triton's health endpoint."""
    connection = http.client.HTTPConnection("127.0.0.1", HEALTH_PORT, timeout=POLL_S)
    try:
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
