"""What happens to the S3-compatible storage of a batch's files, or of a web service's."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path

from client.job_urls import FOLDER_PREFIX, OUTPUT_FOLDER
from tests.chaos import faults
from tests.chaos.case import Unexpected
from tests.chaos.clusters import JOBS
from tests.chaos.scene import Running, Scene
from tests.chaos.web_client import FINISHED, REFUSED, RUNNING
from tests.s3_server import BUCKET, S3Server
from tests.waiting import wait_until
from tests.web_service import WebProcess

AWAY_S = 15.0  # longer than one call tries, shorter than a job's patience
CLIENT = (sys.executable, "-m", "tests.chaos.web_client")
SERVICE_LOG = "service.log"


def batch_of_urls(scene: Scene) -> tuple[str, ...]:
    """Run the case's files as a batch whose job names all of them in S3: buckets are the case's folders."""
    job = {name: f"s3://{path.parent.name}/{path.name}" for name, path in _files(scene).items()}
    path = scene.inputs / JOBS
    path.write_text(json.dumps(job))
    return "batch", "--batch", str(path)


def web_job(scene: Scene) -> tuple[str, ...]:
    """Send the case's files to the service, and fetch the result."""
    return tuple(f"--{name}={path}" for name, path in _files(scene).items())


# what jobs talk to


def here(scene: Scene) -> tuple[str, ...]:
    """Use the server that all cases share, and a storage of the case's own."""
    scene.storage = scene.stack.enter_context(S3Server(scene.folder))
    return faults.shared(scene)


def away(scene: Scene) -> tuple[str, ...]:
    """Use the same, with a storage that is gone."""
    options = here(scene)
    _storage(scene).stop()
    return options


def service(scene: Scene) -> tuple[str, ...]:
    """Use a web service with a storage of the case's own."""
    url = here(scene)
    log = scene.stack.enter_context((scene.folder / SERVICE_LOG).open("w"))
    arguments = (*url, "--media", f"s3://{BUCKET}/jobs")
    process = WebProcess(scene.folder / "data", *arguments, stderr=log, **scene.environment())
    return "--address", scene.stack.enter_context(process).address


# what is done to it


def come_back(scene: Scene, job: Running) -> None:
    """Start the storage after a while."""
    time.sleep(AWAY_S)
    _storage(scene).start()


def go_until_result(scene: Scene, job: Running) -> None:
    """Stop the storage at work, and start it a while after the result is complete."""
    _storage(scene).stop()
    wait_until(lambda: list(scene.temporary.glob(f"{FOLDER_PREFIX}*/{OUTPUT_FOLDER}/[!.]*")), scene.case.timeout_s)
    come_back(scene, job)


def freeze_for_result(scene: Scene, job: Running) -> None:
    """Freeze the storage at work, and let it go on a while after the result is complete."""
    _storage(scene).signal(signal.SIGSTOP)
    wait_until(lambda: list(scene.temporary.glob(f"{FOLDER_PREFIX}*/{OUTPUT_FOLDER}/[!.]*")), scene.case.timeout_s)
    time.sleep(AWAY_S)
    _storage(scene).signal(signal.SIGCONT)


def go_for_good(scene: Scene, job: Running) -> None:
    """Stop the storage at work until the batch has ended, which says why."""
    _storage(scene).stop()
    job.process.wait(scene.case.timeout_s)
    _storage(scene).start()
    report = (scene.inputs / JOBS).with_suffix(".report.jsonl").read_text()
    error = json.loads(report)["error"]
    if not error.startswith("s3://results/out.mp4: the storage does not answer") or "\n" in error:
        raise Unexpected(f"the report says of the storage: {error}")


def ask_while_away(scene: Scene, job: Running) -> None:
    """Run the batch again when it is done, with a storage that comes back while it asks what is done."""
    job.process.wait(scene.case.timeout_s)
    _storage(scene).stop()
    second = scene.start(options=faults.shared(scene))
    come_back(scene, second)
    ending = second.end(scene.case.timeout_s)
    if ending.code != 0 or "1 of 1 jobs are done already" not in second.text():
        raise Unexpected(f"the second run ended with {ending.code}: {second.text()}")


def go_while_uploaded(scene: Scene, job: Running) -> None:
    """Stop the storage before the upload is stored: it is refused for that long, and nothing of it is kept."""
    _storage(scene).stop()
    job.wait_for(REFUSED, 1, scene.case.timeout_s)
    come_back(scene, job)
    _end_well(scene, job)


def go_while_it_runs(scene: Scene, job: Running) -> None:
    """Stop the storage while the job runs, and until after it would have stored its result."""
    job.wait_for(RUNNING, 1, scene.case.timeout_s)
    _storage(scene).stop()
    wait_until(lambda: "waits for the storage" in _service_log(scene), scene.case.timeout_s)
    come_back(scene, job)
    _end_well(scene, job)


def go_while_served(scene: Scene, job: Running) -> None:
    """Stop the storage when the result is there, and start it after a request for it was refused."""
    job.wait_for(FINISHED, 1, scene.case.timeout_s)
    _storage(scene).stop()
    job.wait_for(REFUSED, 1, scene.case.timeout_s)
    come_back(scene, job)
    _end_well(scene, job)


def _end_well(scene: Scene, job: Running) -> None:
    """Wait for the job's end, and check what the service has said and stored."""
    job.process.wait(scene.case.timeout_s)
    said = _service_log(scene)
    if "Traceback" in said or said.count("waits for the storage") > 1:
        raise Unexpected(f"the service said: {said}")
    kept = {key.split("/")[1] for key in _storage(scene).names()}
    if job.process.returncode == 0 and len(kept) != 1:
        raise Unexpected(f"jobs with files in the storage: {sorted(kept)}")


def _service_log(scene: Scene) -> str:
    return (scene.folder / SERVICE_LOG).read_text()


def _storage(scene: Scene) -> S3Server:
    assert scene.storage is not None
    return scene.storage


def _files(scene: Scene) -> dict[str, Path]:
    return {"video": scene.video, "audio": scene.audio, "output": scene.output}
