from __future__ import annotations

from typing import Any

import pytest
import yaml

from client.web.job_record import ACTIVE
from client.web.settings import build_parser
from lipsync_core.serving import launch
from lipsync_core.serving.server import COMPILE_TIMEOUT_S
from tests.deploy.helm import CHART, KUBERNETES, NAMESPACE, REGISTRY, ChartRefused, render

Document = dict[str, Any]
TLS = {"secretName": "triton-tls", "clientCertificates": True}
EVERYTHING: Document = {
    "models": {"flavour": "tensorrt", "names": ["latentsync", "faces"], "existingClaim": "models"},
    "engines": {"existingClaim": "engines"},
    "autoscaling": {"enabled": True, "kind": "hpa"},
    "tls": TLS,
    "tokens": {"secretName": "triton-tokens", "operator": True},
    "tracing": {"url": "http://collector:4318/v1/traces"},
    "monitoring": {"podMonitor": True, "alerts": True, "dashboard": True, "labels": {"release": "prometheus"}},
    "runtimeClassName": "nvidia",
    "priorityClassName": "high",
    "affinity": {"nodeAffinity": {}},
    "podAnnotations": {"note": "x"},
    "imagePullSecrets": [{"name": "registry"}],
    "web": {
        "clientCertificateSecret": "web-tls",
        "hosts": ["lips.example.org"],
        "tokensSecret": "web-tokens",
        "metricsTokenSecret": "web-metrics",
        "clients": [{"podSelector": {}}],
        "storage": {"className": "fast"},
    },
}
STATELESS: Document = {
    "replicas": 3,
    "store": {"existingSecret": "web-records"},
    "media": {"url": "s3://bucket/jobs", "existingSecret": "web-files"},
    "workerPods": {"enabled": True},
}
BATCH: Document = {"enabled": True, "jobsFile": "/media/jobs.jsonl", "existingClaim": "media"}
RAY: Document = {**BATCH, "tokenSecret": "ray-token"}
VARIANTS: dict[str, Document] = {
    "as it comes": {},
    "everything": EVERYTHING,
    "keda": {"autoscaling": {"enabled": True}},
    "kserve": {"kserve": {"enabled": True}, "models": {"flavour": "tensorrt"}, "autoscaling": {"enabled": True}},
    "torch": {"models": {"flavour": "torch", "existingClaim": "models"}},
    "cpu": {"models": {"flavour": "cpu"}},
    "stateless": {"web": STATELESS, "autoscaling": {"enabled": True}},
    "batch": {
        "batch": {**BATCH, "queue": "gpus", "s3Secret": "media-keys", "arguments": ["--model=wav2lip"]},
        "tls": TLS,
        "web": {"enabled": False, "clientCertificateSecret": "batch-tls"},
    },
    "ray job": {"ray": RAY, "models": {"existingClaim": "models"}},
    "ray cluster": {"ray": {"enabled": True, "tokenSecret": "ray-token"}},
    "bare": {"web": {"enabled": False}, "networkPolicy": {"enabled": False}, "nodeSelector": None, "tolerations": []},
}
SERVERS = ("triton", "kserve-container")  # names of Triton's container
KUBERNETES_GROUPS = ("v1", "apps/v1", "batch/v1", "autoscaling/v2", "policy/v1", "networking.k8s.io/v1")


@pytest.fixture(scope="module", params=VARIANTS)
def documents(request: pytest.FixtureRequest) -> list[Document]:
    return render(VARIANTS[request.param])


@pytest.fixture(scope="module")
def everything() -> list[Document]:
    return render(EVERYTHING)


def of_kind(documents: list[Document], kind: str, ending: str = "-triton") -> Document:
    (found,) = (one for one in documents if one["kind"] == kind and one["metadata"]["name"].endswith(ending))
    return found


def pods(documents: list[Document]) -> list[Document]:
    """Return each workload's pods as Pods; KServe's predictor is one with fields of its own, a Ray cluster has two."""
    found = []
    for document in documents:
        spec = document.get("spec", {})
        if document["kind"] in ("Deployment", "Job"):
            found.append(dict(spec["template"]))
        elif document["kind"] in ("RayCluster", "RayJob"):
            cluster = spec.get("rayClusterSpec", spec)
            found += [dict(one["template"]) for one in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]
        elif document["kind"] == "InferenceService":
            predictor = dict(document["spec"]["predictor"])
            metadata = {"labels": predictor.pop("labels"), "annotations": predictor.pop("annotations", {})}
            found.append({"metadata": metadata, "spec": predictor})
            del predictor["minReplicas"], predictor["maxReplicas"]
    return [{"apiVersion": "v1", "kind": "Pod", **pod, "metadata": {"name": "pod", **pod["metadata"]}} for pod in found]


def test_manifests_fit_kubernetes_schemas(documents: list[Document]) -> None:
    """Kubernetes would take each manifest of its own kinds, and every pod, with no field unknown."""
    validate = pytest.importorskip(
        "kubernetes_validate", reason="no kubernetes-validate: pip install '.[dev]'"
    ).validate
    own = [one for one in documents if one["apiVersion"] in KUBERNETES_GROUPS]
    assert own
    for document in [*own, *pods(documents)]:
        validate(document, KUBERNETES, strict=True)


def test_pods_meet_the_restricted_standard(documents: list[Document]) -> None:
    """Every container runs as a plain user without privileges, on a file system it cannot change."""
    for pod in pods(documents):
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]
        kinds = {key for volume in spec["volumes"] for key in volume if key != "name"}
        assert kinds <= {"emptyDir", "persistentVolumeClaim", "secret"}


def test_selectors_find_their_pods(documents: list[Document]) -> None:
    """Services, budgets and policies point at pods of the same release."""
    labels = [pod["metadata"]["labels"] for pod in pods(documents)]
    for document in documents:
        spec = document["spec"] if document["kind"] != "ConfigMap" else {}
        chosen = {
            "Service": lambda spec: spec["selector"],
            "PodDisruptionBudget": lambda spec: spec["selector"]["matchLabels"],
            "NetworkPolicy": lambda spec: spec["podSelector"]["matchLabels"],
            "PodMonitor": lambda spec: spec["selector"]["matchLabels"],
        }.get(document["kind"])
        if chosen:
            expected = 2 if document["metadata"]["name"].endswith("-ray") else 1  # Ray's head and its workers
            assert sum(chosen(spec).items() <= one.items() for one in labels) == expected, document["kind"]


def test_volumes_and_ports_are_declared(documents: list[Document]) -> None:
    """Each mount has its volume, each volume a mount, each probe its port."""
    for pod in pods(documents):
        spec = pod["spec"]
        containers = [*spec["containers"], *spec.get("initContainers", [])]
        mounted = {mount["name"] for container in containers for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in spec["volumes"]}
        for container in spec["containers"]:
            ports = {port["name"] for port in container.get("ports", [])}
            probes = [container[key] for key in container if key.endswith("Probe")]
            assert {probe.get("httpGet", probe.get("tcpSocket"))["port"] for probe in probes} <= ports


def test_triton_runs_on_gpu_nodes_alone() -> None:
    """One GPU each, on nodes that say they have one, past the taint that keeps others away."""
    spec = pods(render({"web": {"enabled": False}}))[0]["spec"]
    assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert spec["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in spec["tolerations"]


def test_clients_see_every_server() -> None:
    """The Service has no address of its own, so its name resolves to all ready pods; the web service asks for it so."""
    documents = render({})
    service = of_kind(documents, "Service")
    assert service["spec"]["clusterIP"] == "None"
    web = of_kind(documents, "Deployment", "-web")["spec"]["template"]["spec"]["containers"][0]
    assert f"--url=dns:///{service['metadata']['name']}.{NAMESPACE}.svc:8001" in web["args"]


def test_engines_are_built_where_they_run(everything: list[Document]) -> None:
    """The init container has the server's GPU and volume; the server only reads what it wrote."""
    spec = of_kind(everything, "Deployment")["spec"]["template"]["spec"]
    (builder,), (server,) = spec["initContainers"], spec["containers"]
    assert builder["resources"] == server["resources"]
    mounts = {mount["mountPath"]: mount for mount in server["volumeMounts"]}
    assert mounts["/engines"]["readOnly"] is True
    assert mounts["/models"]["readOnly"] is True
    assert builder["args"] == ["--precision=fp16", "--serving", "latentsync", "faces"]
    assert "readOnly" not in next(mount for mount in builder["volumeMounts"] if mount["name"] == "engines")


@pytest.mark.parametrize("variant", ["torch", "as it comes"])
def test_compiled_code_has_a_place(variant: str) -> None:
    """The torch flavour, also where it is chosen by what is there, writes to a volume, where the image says."""
    container = of_kind(render(VARIANTS[variant]), "Deployment")["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "engines", "mountPath": "/engines"} in container["volumeMounts"]
    assert "LIPSYNC_COMPILE_CACHE=/engines/" in (CHART.parent / "Dockerfile.triton").read_text()


def test_compiling_may_take_an_hour(documents: list[Document]) -> None:
    """Kubernetes and Docker wait as long as `lipsync serve` does, and an upgrade longer than its new pod."""
    for pod in pods(documents):
        server = pod["spec"]["containers"][0]
        if server["name"] in SERVERS:
            probe = server["startupProbe"]
            assert probe["periodSeconds"] * probe["failureThreshold"] >= COMPILE_TIMEOUT_S
    for document in documents:
        if document["kind"] == "Deployment" and document["metadata"]["name"].endswith("-triton"):
            assert document["spec"]["progressDeadlineSeconds"] > COMPILE_TIMEOUT_S
    assert "--start-period=1h" in (CHART.parent / "Dockerfile.triton").read_text()


def test_images_have_full_names(documents: list[Document]) -> None:
    """A name without a registry would be looked up on Docker Hub, where somebody else may have it."""
    for pod in pods(documents):
        for container in [*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])]:
            assert container["image"].startswith(f"{REGISTRY}/lipsync-"), container["image"]


def test_readme_builds_every_image() -> None:
    """The engines' too, under the names and the tag that the chart pulls."""
    readme = (CHART.parent / "README.md").read_text()
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    for image in (values["image"], values["engines"]["image"], values["web"]["image"], values["ray"]["image"]):
        assert f"-t REGISTRY/{image['repository']}:{version} ." in readme


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, {"maxSurge": 1, "maxUnavailable": 0}),
        ({"replicas": 3}, {"maxSurge": 0, "maxUnavailable": 1}),
        ({"replicas": 3, "autoscaling": {"enabled": True}}, {"maxSurge": 1, "maxUnavailable": 0}),
        ({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}, {"maxSurge": 0, "maxUnavailable": 1}),
    ],
)
def test_an_upgrade_leaves_a_server(values: Document, expected: Document) -> None:
    """One by one in place; a single server stays until the new one is ready, unless there is no GPU for that."""
    assert of_kind(render(values), "Deployment")["spec"]["strategy"]["rollingUpdate"] == expected


def test_names_are_asked_of_the_nodes_own_resolver_too() -> None:
    """NodeLocal DNSCache answers at a link-local address, which no selector of pods or namespaces covers."""
    documents = render({"tracing": {"url": "http://collector:4318/v1/traces"}})
    for ending in ("-triton", "-web"):
        rules = of_kind(documents, "NetworkPolicy", ending)["spec"]["egress"]
        (dns,) = [rule for rule in rules if {"protocol": "UDP", "port": 53} in rule["ports"]]
        assert {"ipBlock": {"cidr": "169.254.20.10/32"}} in dns["to"]
        assert {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}} in dns["to"]


def test_launcher_takes_the_charts_arguments(documents: list[Document]) -> None:
    """Every option that the chart passes is one that the image's entrypoint knows."""
    for pod in pods(documents):
        for container in pod["spec"]["containers"]:
            if container["name"] in SERVERS:
                launch.build_parser().parse_args(container["args"])


def test_secrets_reach_the_launcher(everything: list[Document]) -> None:
    """Certificates and tokens are files of mounted secrets, never values in the manifest."""
    container = of_kind(everything, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    options = launch.build_parser().parse_args(container["args"])
    folders = {mount["mountPath"] for mount in container["volumeMounts"]}
    files = [options.tls_cert, options.tls_key, options.tls_client_ca, options.token_file, options.admin_token_file]
    assert all(str(path.parent) in folders for path in files)


def test_web_service_takes_the_charts_arguments(documents: list[Document]) -> None:
    """Every option that the chart passes is one that the web service knows."""
    parser = build_parser()
    for pod in pods(documents):
        (container,) = pod["spec"]["containers"]
        if container["name"] == "web":
            parser.parse_args(container["args"])


def test_web_service_gets_the_ca_but_no_servers_key(everything: list[Document]) -> None:
    """Of the server's secret a client mounts the CA alone; its own certificate and token come from its own secrets."""
    spec = of_kind(everything, "Deployment", "-web")["spec"]["template"]["spec"]
    secrets = {volume["name"]: volume["secret"] for volume in spec["volumes"] if "secret" in volume}
    assert secrets["ca"] == {"secretName": "triton-tls", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    assert secrets["certificate"]["secretName"] == "web-tls"
    variables = spec["containers"][0]["env"]
    names = {one["name"]: one["valueFrom"]["secretKeyRef"] for one in variables if "secretKeyRef" in one["valueFrom"]}
    assert names["LIPSYNC_TOKEN"] == {"name": "triton-tokens", "key": "token"}


def test_requests_under_way_may_finish(documents: list[Document]) -> None:
    """Kubernetes waits longer than the server does for its last requests, after clients have left it."""
    for pod in pods(documents):
        server = pod["spec"]["containers"][0]
        if server["name"] in SERVERS:
            seconds = int(server["lifecycle"]["preStop"]["exec"]["command"][1])
            assert pod["spec"]["terminationGracePeriodSeconds"] >= seconds + launch.STOP_GRACE_S


def test_keda_scales_on_the_web_services_jobs() -> None:
    """The query counts those of this release, waiting and running; the threshold is per server."""
    documents = render({"autoscaling": {"enabled": True, "jobsPerServer": 5}})
    spec = of_kind(documents, "ScaledObject")["spec"]
    (trigger,) = spec["triggers"]
    assert spec["scaleTargetRef"]["name"] == of_kind(documents, "Deployment")["metadata"]["name"]
    assert trigger["metadata"]["query"] == (
        'sum(max by (state) (lipsync_web_jobs{namespace="video",pod=~"demo-web-.*",state=~"queued|running"}))'
    )
    assert {"queued", "running"} <= set(ACTIVE)
    assert (trigger["metricType"], trigger["metadata"]["threshold"]) == ("AverageValue", "5")
    assert "replicas" not in of_kind(documents, "Deployment")["spec"]  # else each upgrade would undo the scaling


def test_keda_scales_on_a_query_of_ones_own() -> None:
    """Clients without the web service have no jobs to count."""
    values = {"autoscaling": {"enabled": True, "query": "sum(my_jobs)"}, "web": {"enabled": False}}
    (trigger,) = of_kind(render(values), "ScaledObject")["spec"]["triggers"]
    assert trigger["metadata"]["query"] == "sum(my_jobs)"


def test_hpa_scales_on_the_web_services_jobs(everything: list[Document]) -> None:
    """autoscaling/v2 on the same jobs, as docker/README.md has the adapter count them."""
    scaler = of_kind(everything, "HorizontalPodAutoscaler")
    assert scaler["apiVersion"] == "autoscaling/v2"
    external = scaler["spec"]["metrics"][0]["external"]
    readme = (CHART.parent / "README.md").read_text()
    assert f"name: {{ as: {external['metric']['name']} }}" in readme
    assert external["metric"]["selector"]["matchLabels"] == {"app_kubernetes_io_instance": "demo"}
    assert external["target"] == {"type": "AverageValue", "averageValue": "2"}


def test_prometheus_reads_the_web_services_jobs(everything: list[Document]) -> None:
    """It is let in by the pod's own address, with a token, and its jobs are told from those of other releases."""
    spec = of_kind(everything, "PodMonitor", "-web")["spec"]
    (endpoint,) = spec["podMetricsEndpoints"]
    assert endpoint["authorization"] == {"credentials": {"name": "web-metrics", "key": "token"}}
    assert spec["podTargetLabels"] == ["app.kubernetes.io/instance"]
    pod = of_kind(everything, "Deployment", "-web")["spec"]["template"]
    assert "app.kubernetes.io/instance" in pod["metadata"]["labels"]
    (container,) = pod["spec"]["containers"]
    assert "--allowed-host=$(POD_IP)" in container["args"]
    assert {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}} in container["env"]
    (rule,) = of_kind(everything, "NetworkPolicy", "-web")["spec"]["ingress"]
    assert {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}} in rule["from"]


def test_only_callers_and_monitoring_come_in() -> None:
    """Callers reach gRPC: the web service and labelled pods. Monitoring reads metrics; HTTP is for nobody."""
    spec = of_kind(render({}), "NetworkPolicy")["spec"]
    opened = {rule["ports"][0]["port"]: rule["from"] for rule in spec["ingress"]}
    assert set(opened) == {"grpc", "metrics"}
    assert all(opened.values())
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["egress"] == []


def test_kserve_takes_the_deployments_place() -> None:
    """The same pod, under KServe's container name; no Deployment of ours beside it."""
    documents = render(VARIANTS["kserve"])
    plain = render({**VARIANTS["kserve"], "kserve": {"enabled": False}})
    assert not any(one["kind"] == "Deployment" and one["metadata"]["name"] == "demo-triton" for one in documents)
    ours = of_kind(plain, "Deployment")["spec"]["template"]["spec"]
    theirs = next(pod for pod in pods(documents) if pod["spec"]["containers"][0]["name"] == "kserve-container")["spec"]
    ours["containers"][0]["name"] = "kserve-container"
    assert theirs == ours
    assert of_kind(documents, "ScaledObject")["spec"]["scaleTargetRef"]["name"] == "demo-triton-predictor"


def test_alerts_and_dashboard_are_shipped_as_they_are(everything: list[Document]) -> None:
    """The same files serve compose and the chart; their own {{ }} are left to Prometheus and Grafana."""
    alerts = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
    assert of_kind(everything, "PrometheusRule")["spec"] == alerts
    dashboard = of_kind(everything, "ConfigMap", "-dashboard")["data"]["lipsync.json"]
    assert dashboard == (CHART / "files" / "dashboard.json").read_text()


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"replica": 2}, "replica"),
        ({"registry": ""}, "registry: expected where your images are"),
        ({"models": {"flavour": "onnx"}}, "flavour"),
        ({"autoscaling": {"kind": "vpa"}}, "kind"),
        ({"autoscaling": {"enabled": True}, "web": {"enabled": False}}, "autoscaling: expected web.enabled"),
        (
            {"monitoring": {"podMonitor": True}, "web": {"tokensSecret": "tokens"}},
            "web.metricsTokenSecret: expected one with",
        ),
        ({"replicas": 0}, "replicas"),
        ({"tls": {"clientCertificates": True}}, "secretName"),
        ({"tokens": {"operator": True}}, "secretName"),
        ({"tokens": {"secretName": "in-the-clear"}}, "secretName"),
        ({"tls": TLS}, "web.clientCertificateSecret: expected one"),
        ({"terminationGracePeriodSeconds": 30}, "terminationGracePeriodSeconds"),
        (
            {"web": {"replicas": 2}},
            "web.replicas: expected 1 without web.store.existingSecret and web.media.url, got 2",
        ),
        ({"web": {**STATELESS, "media": {}}}, "web.replicas: expected 1 without"),
        ({"web": {**STATELESS, "store": {}}}, "web.replicas: expected 1 without"),
        ({"web": {"workerPods": {"enabled": True}}}, "web.workerPods: expected web.store.existingSecret and"),
        ({"web": {"media": {"existingSecret": "files"}}}, "web.media.existingSecret: expected web.media.url"),
        ({"web": {"media": {"url": "https://bucket"}}}, "url"),
        ({"batch": {"enabled": True, "jobsFile": "/media/jobs.jsonl"}}, "batch: expected jobsFile, and existingClaim"),
        ({"batch": {**BATCH, "shards": 0}}, "shards"),
        ({"batch": {**BATCH, "arguments": ["--crf 20"]}}, "arguments"),
        ({"ray": {"enabled": True}}, "ray.tokenSecret: expected a secret"),
        ({"ray": {**RAY, "existingClaim": ""}}, "ray.existingClaim: expected the volume"),
        ({"ray": {**RAY, "jobsFile": "/media/a; rm -r /"}}, "jobsFile"),
        ({"web": {"image": {"pullPolicy": "Sometimes"}}}, "pullPolicy"),
    ],
)
def test_bad_values_fail_by_name(values: Document, named: str) -> None:
    """Helm refuses misspelt keys and impossible values before anything is installed."""
    with pytest.raises(ChartRefused, match=named):
        render(values)
