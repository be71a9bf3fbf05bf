"""Real KubeEdge programs, where there are any: an edgecore at an authority of ours, and a cloudcore that goes on with its CA.

`EDGEWARD_EDGECORE` and `EDGEWARD_CLOUDCORE` name the binaries; a cloudcore also needs a throw-away Kubernetes API without authentication,
`EDGEWARD_KUBE_API=http://127.0.0.1:PORT`, into which the test puts Secrets of the namespace `kubeedge`.
"""

import base64
import contextlib
import http.client
import json
import os
import signal
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import websockets.exceptions
from cryptography import x509

from edgeward.pki.formats import kubernetes
from tests.support.server import Pair, Server, client_context, free_port, server, until
from tests.support.world import csr, new_key

EDGECORE, CLOUDCORE = os.environ.get("EDGEWARD_EDGECORE"), os.environ.get("EDGEWARD_CLOUDCORE")
KUBE_API = os.environ.get("EDGEWARD_KUBE_API")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

EDGE = """
apiVersion: edgecore.config.kubeedge.io/v1alpha2
kind: EdgeCore
database: {{aliasName: default, dataSource: {dir}/edgecore.db, driverName: sqlite3}}
modules:
  dbTest: {{enable: false}}
  deviceTwin: {{enable: false, dmiSockPath: {dir}/dmi.sock}}
  edgeHub:
    enable: true
    heartbeat: 3
    httpServer: https://127.0.0.1:{https}
    messageBurst: 60
    messageQPS: 30
    projectID: e632aba927ea4ac2b575ec1603d56f10
    rotateCertificates: true
    tlsCaFile: {dir}/ca/rootCA.crt
    tlsCertFile: {dir}/certs/server.crt
    tlsPrivateKeyFile: {dir}/certs/server.key
    token: "{token}"
    quic: {{enable: false, handshakeTimeout: 30, readDeadline: 15, server: "127.0.0.1:1", writeDeadline: 15}}
    websocket: {{enable: true, handshakeTimeout: 30, readDeadline: 15, server: "127.0.0.1:{hub}", writeDeadline: 15}}
  edgeStream: {{enable: false}}
  edged: {{enable: false, hostnameOverride: {node}, rootDirectory: {dir}/edged, maxPerPodContainerCount: 1}}
  eventBus:
    {{enable: false, mqttMode: 2, mqttServerExternal: "tcp://localhost", mqttServerInternal: "tcp://localhost", mqttSessionQueueSize: 1}}
  metaManager: {{enable: true, contextSendGroup: hub, contextSendModule: websocket, remoteQueryTimeout: 60, metaServer: {{enable: false}}}}
  serviceBus: {{enable: false}}
  taskManager: {{enable: false}}
"""

CLOUD = """
apiVersion: cloudcore.config.kubeedge.io/v1alpha1
kind: CloudCore
commonConfig: {{monitorServer: {{bindAddress: "127.0.0.1:{monitor}"}}, tunnelPort: 10350}}
kubeAPIConfig: {{burst: 500, contentType: application/vnd.kubernetes.protobuf, kubeConfig: "{dir}/kubeconfig", qps: 250}}
modules:
  cloudHub:
    advertiseAddress: [127.0.0.1]
    dnsNames: [localhost]
    authorization: {{enable: true, debug: false, modes: [{{node: {{enable: true}}}}]}}
    edgeCertSigningDuration: 365
    enable: true
    https: {{address: 127.0.0.1, enable: true, port: {https}}}
    keepaliveInterval: 30
    nodeLimit: 10
    quic: {{enable: false, address: 127.0.0.1, maxIncomingStreams: 10, port: 10001}}
    tlsCAFile: {dir}/none/rootCA.crt
    tlsCAKeyFile: {dir}/none/rootCA.key
    tlsCertFile: {dir}/none/server.crt
    tlsPrivateKeyFile: {dir}/none/server.key
    tokenRefreshDuration: 12
    unixsocket: {{address: "unix://{dir}/cloud.sock", enable: false}}
    websocket: {{address: 127.0.0.1, enable: true, port: {hub}}}
    writeTimeout: 30
  cloudStream: {{enable: false}}
  deviceController: {{enable: false}}
  dynamicController: {{enable: false}}
  edgeController: {{enable: true, nodeUpdateFrequency: 10}}
  iptablesManager: {{enable: false, mode: external}}
  router: {{enable: false}}
  syncController: {{enable: true}}
  taskManager: {{enable: false}}
"""

KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{{name: c, cluster: {{server: "{api}"}}}}]
contexts: [{{name: c, context: {{cluster: c, user: u}}}}]
users: [{{name: u, user: {{}}}}]
current-context: c
"""


@contextlib.contextmanager
def running(directory: Path, *command: str) -> Iterator[Path]:
    """A foreign program; its log."""
    log = directory / "log"
    with log.open("ab") as file:
        environment = os.environ | {"CHECK_EDGECORE_ENVIRONMENT": "false"}
        process = subprocess.Popen(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL, env=environment)
    try:
        yield log
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(20)


@contextlib.contextmanager
def edgecore(directory: Path, node: str, https: int, hub: int, token: str = "") -> Iterator[Path]:
    """A real edge: EdgeHub and MetaManager."""
    assert EDGECORE
    for part in ("ca", "certs"):
        (directory / part).mkdir(parents=True, exist_ok=True)
    configuration = directory / "edgecore.yaml"
    configuration.write_text(EDGE.format(dir=directory, node=node, https=https, hub=hub, token=token))
    with running(directory, EDGECORE, "--config", str(configuration), "--v=4") as log:
        yield log


def kube(method: str, path: str, body: Any = None) -> Any:
    """A call of the throw-away Kubernetes API."""
    place = urlsplit(KUBE_API or "")
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=20)
    with contextlib.closing(connection):
        connection.request(
            method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"}
        )
        return json.loads(connection.getresponse().read())


SECRETS = "/api/v1/namespaces/kubeedge/secrets"


@contextlib.contextmanager
def cloudcore(directory: Path, secrets: list[kubernetes.Object], https: int, hub: int) -> Iterator[Path]:
    """A real cloud that finds these Secrets and no others."""
    assert CLOUDCORE
    directory.mkdir()
    (directory / "kubeconfig").write_text(KUBECONFIG.format(api=KUBE_API))
    (directory / "cloudcore.yaml").write_text(CLOUD.format(dir=directory, https=https, hub=hub, monitor=free_port()))
    for name in ("casecret", "cloudcoresecret", "tokensecret"):
        kube("DELETE", f"{SECRETS}/{name}")
    for one in secrets:
        data = {field.key: base64.b64encode(field.octets).decode() for field in one.fields}
        metadata = {"name": one.name.rpartition("/")[2], "namespace": "kubeedge"}
        kube(
            "POST",
            SECRETS,
            {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": data},
        )
    with running(directory, CLOUDCORE, "--config", str(directory / "cloudcore.yaml")) as log:
        until(lambda: "Starting cloudhub websocket server" in log.read_text(), "the cloud's start", 60)
        yield log


needs_edgecore = pytest.mark.skipif(not EDGECORE, reason="EDGEWARD_EDGECORE does not name an edgecore")
needs_cloudcore = pytest.mark.skipif(
    not (CLOUDCORE and KUBE_API), reason="EDGEWARD_CLOUDCORE and EDGEWARD_KUBE_API do not name a cloudcore and its API"
)


@needs_edgecore
def test_a_real_edge_enrols_acknowledges_and_comes_back_after_a_kill(tmp_path: Path) -> None:
    with server() as one:
        token = one.run("token", "standing", "--pattern", "edge-*").out.strip()
        with edgecore(tmp_path, "edge-1", one.https, one.hub, token):
            until(lambda: one.state("edge-1") == "online", "the edge's coming", 60)
            config = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "c", "namespace": "default"}}
            send = ["send", "edge-1", "--operation", "update", "--resource", "default/configmap/c", json.dumps(config)]
            said = one.run(*send, "--wait", "20", "--json")
            assert (said.status, said.json["state"]) == (0, "acknowledged"), said
            one.kill()
            one.start()
            queued = one.run(*send, "--json").json["msg_id"]
            until(lambda: one.state("edge-1") == "online", "the edge's return", 60)
            until(lambda: one.api("GET", f"/v1/messages/{queued}")["state"] == "acknowledged", "the message", 30)


@needs_edgecore
@needs_cloudcore
def test_an_edge_of_a_real_cloud_moves_here_and_the_cloud_takes_the_fleet_back(tmp_path: Path) -> None:
    """Enrolled by cloudcore, adopted and renewed here; then a cloudcore with the exported Secrets admits who enrolled here."""
    configuration = "[profiles.device]\nlifetime_minutes = 60\n"
    with server(start=False, configuration=configuration) as one:
        place = tmp_path / "edge"
        with cloudcore(tmp_path / "before", [], one.https, one.hub) as log:
            found = kube("GET", f"{SECRETS}/tokensecret")["data"]["tokendata"]
            with edgecore(place, "edge-1", one.https, one.hub, base64.b64decode(found).decode()):
                until(lambda: "edge node edge-1" in log.read_text(), "the edge at the cloud", 60)
            listed = json.dumps(kube("GET", SECRETS)).encode()
        said = one.run("kubeedge", "import", "-", "--adopt-until", "2099-01-01", stdin=listed)
        assert said.status == 0, said
        one.start()
        with edgecore(place, "edge-1", one.https, one.hub):
            until(lambda: one.state("edge-1") == "online", "the edge's coming", 60)
            assert [node["name"] for node in one.api("GET", "/v1/kubeedge")["adopted"]] == ["edge-1"]
        pair = one.device("edge-2")
        out = tmp_path / "secrets.yaml"
        assert one.run("kubeedge", "export", "--with-ca-key", "--out", out).status == 0
        ca, https, hub = one.ca, one.https, one.hub
        one.stop()
        with cloudcore(tmp_path / "after", kubernetes.read(out.read_bytes()), https, hub):
            taken_back(one, ca, pair)


def taken_back(one: Server, ca: bytes, pair: Pair) -> None:
    """The cloud on our ports has our CA, and admits and renews a node that enrolled here."""
    context = client_context(ca)
    assert one.request("GET", "/ca.crt", context=context).body == ca
    key = new_key()
    answer = one.enrol("edge-2", request=csr("edge-2", key), context=client_context(ca, pair))
    assert answer.status == 200, answer
    renewed = x509.load_der_x509_certificate(answer.body)
    renewed.verify_directly_issued_by(x509.load_der_x509_certificate(ca))
    one.connect(Pair(answer.body, key), "edge-2", context=client_context(ca, Pair(answer.body, key))).close()
    with pytest.raises((websockets.exceptions.WebSocketException, ssl.SSLError, OSError)):
        one.connect(None, "edge-2", context=context)
