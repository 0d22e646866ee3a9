"""Several pods: of the web service, of a batch, and of a Ray cluster."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from client.cli.batch import build_parser as batch_parser
from client.web.settings import build_parser as web_parser
from tests.deploy import helm
from tests.deploy.helm import CHART, render
from tests.deploy.test_chart import BATCH, RAY, STATELESS, VARIANTS, Document, of_kind, pods

QUEUE = "kueue.x-k8s.io/queue-name"


@pytest.fixture(scope="module")
def stateless() -> list[Document]:
    return render(VARIANTS["stateless"])


def kinds(documents: list[Document], kind: str) -> set[str]:
    return {one["metadata"]["name"] for one in documents if one["kind"] == kind}


def container_of(workload: Document) -> Document:
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    assert isinstance(container, dict)
    return container


def secrets_of(container: Document) -> dict[str, tuple[str, str]]:
    refs = {one["name"]: one.get("valueFrom", {}).get("secretKeyRef") for one in container["env"]}
    return {name: (ref["name"], ref["key"]) for name, ref in refs.items() if ref}


def ray_cluster(document: Document) -> Document:
    spec = document["spec"]
    found = spec.get("rayClusterSpec", spec)
    assert isinstance(found, dict)
    return found


def test_stateless_pages_keep_nothing(stateless: list[Document]) -> None:
    """Records and files are outside; the pods have scratch space, and an upgrade replaces them one by one."""
    page = of_kind(stateless, "Deployment", "-web")
    assert page["spec"]["replicas"] == 3
    assert "strategy" not in page["spec"]
    assert kinds(stateless, "PersistentVolumeClaim") == set()
    volumes = {one["name"]: one for one in page["spec"]["template"]["spec"]["volumes"]}
    assert volumes["data"] == {"name": "data", "emptyDir": {"sizeLimit": "50Gi"}}
    container = container_of(page)
    assert secrets_of(container)["LIPSYNC_STORE"] == ("web-records", "LIPSYNC_STORE")
    assert container["envFrom"] == [{"secretRef": {"name": "web-files"}}]
    assert of_kind(stateless, "PodDisruptionBudget", "-web")["spec"]["maxUnavailable"] == 1


def test_pages_run_no_jobs_where_workers_do(stateless: list[Document]) -> None:
    """Workers serve nothing and know nothing of people's tokens, but find the same jobs."""
    page, worker = (container_of(of_kind(stateless, "Deployment", ending)) for ending in ("-web", "-worker"))
    pages, workers = (web_parser().parse_args(one["args"]) for one in (page, worker))
    assert (pages.workers, pages.worker_only) == (0, False)
    assert (workers.workers, workers.worker_only) == (2, True)
    assert pages.media == workers.media == "s3://bucket/jobs"
    assert pages.url == workers.url
    assert secrets_of(worker) == {"LIPSYNC_STORE": ("web-records", "LIPSYNC_STORE")}
    assert "ports" not in worker


def test_worker_that_is_scaled_away_finishes_its_jobs(stateless: list[Document]) -> None:
    """It is given longer than it takes its time; a page, which runs none, is not."""
    page, worker = (of_kind(stateless, "Deployment", ending) for ending in ("-web", "-worker"))
    drain_s = web_parser().parse_args(container_of(worker)["args"]).drain
    assert drain_s == 3600
    grace_s = [each["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] for each in (page, worker)]
    assert grace_s == [60, 60 + drain_s]


def test_pages_run_jobs_without_workers() -> None:
    """One kind of pod is enough."""
    documents = render({"web": {**STATELESS, "workerPods": {"enabled": False}}})
    assert web_parser().parse_args(container_of(of_kind(documents, "Deployment", "-web"))["args"]).workers == 2
    assert kinds(documents, "Deployment") == {"demo-triton", "demo-web"}


def test_one_page_keeps_its_volume() -> None:
    """As before: without a database and a storage, a pod alone, replaced before the next one starts."""
    documents = render({})
    page = of_kind(documents, "Deployment", "-web")["spec"]
    assert (page["replicas"], page["strategy"]) == (1, {"type": "Recreate"})
    claim = {"claimName": of_kind(documents, "PersistentVolumeClaim", "-web")["metadata"]["name"]}
    assert {"name": "data", "persistentVolumeClaim": claim} in page["template"]["spec"]["volumes"]


@pytest.mark.parametrize("kind", ["keda", "hpa"])
def test_workers_scale_as_triton_does(kind: str) -> None:
    """Both by the same count of jobs; a worker for as many as it runs at once."""
    scaled = {"web": {**STATELESS, "workers": 3}, "autoscaling": {"enabled": True, "kind": kind}}
    documents = render(scaled)
    scaler = {"keda": "ScaledObject", "hpa": "HorizontalPodAutoscaler"}[kind]
    triton, workers = (of_kind(documents, scaler, ending)["spec"] for ending in ("-triton", "-worker"))
    assert workers["scaleTargetRef"]["name"] == "demo-web-worker"
    assert "replicas" not in of_kind(documents, "Deployment", "-worker")["spec"]
    if kind == "keda":
        (ours,), (theirs,) = workers["triggers"], triton["triggers"]
        assert ours["metadata"].pop("threshold") == "3"
        assert theirs["metadata"].pop("threshold") == "2"
        assert ours == theirs
        assert (workers["minReplicaCount"], workers["maxReplicaCount"]) == (1, 8)
    else:
        (ours,), (theirs,) = workers["metrics"], triton["metrics"]
        assert ours["external"]["metric"] == theirs["external"]["metric"]
        assert ours["external"]["target"]["averageValue"] == "3"


def test_jobs_of_shared_records_are_counted_once() -> None:
    """Every page counts all of them, so the adapter's rule takes the maximum, too."""
    readme = (CHART.parent / "README.md").read_text()
    assert 'sum(max by (state) (lipsync_web_jobs{state=~"queued|running",<<.LabelMatchers>>}))' in readme


@pytest.mark.parametrize("ending", ["-web", "-worker"])
def test_pods_reach_their_database_and_storage(ending: str) -> None:
    """Where they are can be said; without a database and a storage neither port is open."""
    peers = [{"ipBlock": {"cidr": "10.1.0.0/16"}}]
    policy = {"database": {"to": peers, "port": 6432}, "storage": {"to": [], "port": 9000}}
    egress = of_kind(render({"web": STATELESS, "networkPolicy": policy}), "NetworkPolicy", ending)["spec"]["egress"]
    assert {"ports": [{"protocol": "TCP", "port": 6432}], "to": peers} in egress
    assert {"ports": [{"protocol": "TCP", "port": 9000}]} in egress
    alone = of_kind(render({"networkPolicy": policy}), "NetworkPolicy", "-web")["spec"]["egress"]
    assert {port["port"] for rule in alone for port in rule["ports"]} == {"grpc", 53}


@pytest.mark.parametrize(("part", "values"), [("batch", BATCH), ("ray", RAY)])
def test_batches_reach_s3_where_they_have_its_keys(part: str, values: Document) -> None:
    """Each pod that runs jobs has the secret; without one nothing outside the release is open."""
    policy = {"storage": {"to": [], "port": 9000}}
    documents = render({part: {**values, "s3Secret": "media-keys"}, "networkPolicy": policy})
    containers = [container for pod in pods(documents) for container in pod["spec"]["containers"]]
    found = [container["envFrom"] for container in containers if container["name"] == part]
    assert found == [[{"secretRef": {"name": "media-keys"}}]] * len(found) != []
    open_port = {"ports": [{"protocol": "TCP", "port": 9000}]}
    assert open_port in of_kind(documents, "NetworkPolicy", f"-{part}")["spec"]["egress"]
    without = render({part: values, "networkPolicy": policy})
    assert open_port not in of_kind(without, "NetworkPolicy", f"-{part}")["spec"]["egress"]


@pytest.mark.parametrize("part", ["web-worker", "batch"])
def test_triton_lets_every_client_of_the_release_in(part: str) -> None:
    """Also where `networkPolicy.clients` names nobody."""
    documents = render({"web": STATELESS, "batch": BATCH, "networkPolicy": {"clients": []}})
    labels = {"app.kubernetes.io/name": f"lipsync-{part}", "app.kubernetes.io/instance": "demo"}
    (callers,) = (
        rule["from"] for rule in of_kind(documents, "NetworkPolicy")["spec"]["ingress"] if "grpc" in str(rule)
    )
    assert {"podSelector": {"matchLabels": labels}} in callers


def test_batch_is_shared_by_the_jobs_index() -> None:
    """Pod I of N takes shard I/N; a pod whose node went is started again, as is one whose jobs failed."""
    spec = of_kind(render(VARIANTS["batch"]), "Job", "-batch")["spec"]
    assert (spec["completionMode"], spec["completions"], spec["backoffLimitPerIndex"]) == ("Indexed", 4, 3)
    (container,) = spec["template"]["spec"]["containers"]
    assert container["command"] == ["lipsync", "batch"]
    filled = [one.replace("$(JOB_COMPLETION_INDEX)", "3") for one in container["args"]]
    options = batch_parser().parse_args(filled)
    assert options.shard == (3, spec["completions"])
    assert (str(options.batch), options.jobs, options.tls) == ("/media/jobs.jsonl", 1, True)
    (index,) = (one for one in container["env"] if one["name"] == "JOB_COMPLETION_INDEX")
    assert "job-completion-index" in index["valueFrom"]["fieldRef"]["fieldPath"]
    ignored, failed = spec["podFailurePolicy"]["rules"]
    assert (ignored["action"], failed["action"]) == ("Ignore", "FailIndex")
    assert failed["onExitCodes"]["containerName"] == container["name"]


def test_batch_never_runs_more_pods_than_shards() -> None:
    """Kubernetes would start no others, but a queue would count them."""
    spec = of_kind(render({"batch": {**BATCH, "shards": 2, "parallelism": 9}}), "Job", "-batch")["spec"]
    assert (spec["completions"], spec["parallelism"]) == (2, 2)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("Job", {"batch": {**BATCH, "queue": "gpus"}}),
        ("RayJob", {"ray": {**RAY, "queue": "gpus"}}),
        ("RayCluster", {"ray": {**RAY, "jobsFile": "", "queue": "gpus"}}),
    ],
)
def test_kueue_admits_what_names_a_queue(kind: str, values: Document) -> None:
    """Until then it is suspended; without a queue it starts at once."""
    ending = "-batch" if kind == "Job" else "-ray"
    queued = of_kind(render(values), kind, ending)
    assert queued["metadata"]["labels"][QUEUE] == "gpus"
    assert queued["spec"]["suspend"] is True
    (section,) = values
    free = of_kind(render({section: {**values[section], "queue": ""}}), kind, ending)
    assert QUEUE not in free["metadata"]["labels"]
    assert "suspend" not in free["spec"]


@pytest.mark.parametrize("variant", ["ray job", "ray cluster"])
def test_ray_asks_for_a_token_and_reports_nothing(variant: str) -> None:
    """On every node, and of the operator, which reads the same secret."""
    documents = render(VARIANTS[variant])
    cluster = ray_cluster(of_kind(documents, "RayJob" if variant == "ray job" else "RayCluster", "-ray"))
    assert cluster["authOptions"] == {"mode": "token", "secretName": "ray-token"}
    nodes = [pod for pod in pods(documents) if pod["spec"]["containers"][0]["name"] == "ray"]
    assert len(nodes) == 2
    for node in nodes:
        (container,) = node["spec"]["containers"]
        plain = {one["name"]: one.get("value") for one in container["env"]}
        assert (plain["RAY_AUTH_MODE"], plain["RAY_USAGE_STATS_ENABLED"]) == ("token", "0")
        assert secrets_of(container) == {"RAY_AUTH_TOKEN": ("ray-token", "auth_token")}


def test_ray_cluster_has_no_dashboard_and_nobody_calls_it() -> None:
    """Its nodes talk among themselves alone."""
    documents = render(VARIANTS["ray cluster"])
    parameters = ray_cluster(of_kind(documents, "RayCluster", "-ray"))["headGroupSpec"]["rayStartParams"]
    assert (parameters["include-dashboard"], parameters["dashboard-host"]) == ("false", "127.0.0.1")
    (rule,) = of_kind(documents, "NetworkPolicy", "-ray")["spec"]["ingress"]
    assert [peer["podSelector"]["matchLabels"]["app.kubernetes.io/name"] for peer in rule["from"]] == ["lipsync-ray"]


def test_operator_alone_reaches_a_ray_jobs_dashboard() -> None:
    """It sends the batch there, with the token, and asks for its state."""
    documents = render(VARIANTS["ray job"])
    job = of_kind(documents, "RayJob", "-ray")["spec"]
    assert job["submissionMode"] == "HTTPMode"
    assert job["shutdownAfterJobFinishes"] is True
    _, operator = of_kind(documents, "NetworkPolicy", "-ray")["spec"]["ingress"]
    assert operator["ports"] == [{"protocol": "TCP", "port": 8265}]
    (peer,) = operator["from"]
    assert peer["podSelector"] == {"matchLabels": {"app.kubernetes.io/name": "kuberay-operator"}}


def test_ray_job_runs_the_batch() -> None:
    """Its command is `lipsync batch` on the cluster's GPUs, with the models of the nodes."""
    job = of_kind(render(VARIANTS["ray job"]), "RayJob", "-ray")["spec"]
    name, command, *arguments = job["entrypoint"].split(" ")
    assert (name, command) == ("lipsync", "batch")
    options = batch_parser().parse_args(arguments)
    assert (options.ray, options.ray_gpus) == ("auto", 0.5)
    assert (str(options.batch), str(options.model_repository)) == ("/media/jobs.jsonl", "/models")


def test_ray_jobs_run_on_gpu_nodes() -> None:
    """The head, which needs no GPU, gives jobs none of its cores."""
    cluster = ray_cluster(of_kind(render(VARIANTS["ray job"]), "RayJob", "-ray"))
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert "nvidia.com/gpu" not in str(cluster["headGroupSpec"])
    (workers,) = cluster["workerGroupSpecs"]
    (container,) = workers["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert str(container["ports"][0]["containerPort"]) == workers["rayStartParams"]["node-manager-port"]


def test_ray_of_the_image_is_the_one_that_the_operator_is_told() -> None:
    """KubeRay chooses by it what a node is asked for."""
    values: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
    dockerfile = (CHART.parent / "Dockerfile.triton").read_text()
    assert re.findall(r"^ARG RAY_VERSION=(.+)$", dockerfile, flags=re.M) == [values["ray"]["version"]]


def test_names_fit_what_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Helm's longest release and the longest name of a batch: 47 characters for KubeRay, 63 with an index for a Job."""
    monkeypatch.setattr(helm, "RELEASE", "r" * 53)
    longest = {"name": "n" * 12}
    documents = render({"batch": {**BATCH, **longest, "shards": 100_000}, "ray": {**RAY, **longest}})
    assert all(len(name) <= 47 for name in kinds(documents, "RayJob"))
    assert all(len(f"{name}-99999") <= 63 for name in kinds(documents, "Job"))
