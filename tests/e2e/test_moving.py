"""A KubeEdge cloud's nodes move to an authority that runs, and back: over TLS, at both doors, with the command line."""

import base64
import contextlib
import ipaddress
import json
import ssl
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import websockets.exceptions
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from edgeward.pki.formats import kubernetes
from tests.support.kubeedge_cloud import LEGACY, Cloud, edge
from tests.support.programs import needs, ran
from tests.support.server import Pair, Server, acknowledged, server, until
from tests.support.world import csr, new_key

SOON = (datetime.now(UTC) + timedelta(days=2)).isoformat()


def enrolled_by(cloud: Cloud, node: str, **changes: Any) -> Pair:
    """A node that the KubeEdge cloud enrolled."""
    key = new_key()
    return Pair(cloud.issue(changes.pop("subject", None) or edge(node), key, **changes), key)


def refused_at_the_hub(authority: Server, pair: Pair, node: str) -> str:
    with pytest.raises(websockets.exceptions.InvalidStatus) as caught:
        authority.connect(pair, node)
    assert caught.value.response.body is not None
    return caught.value.response.body.decode()


@pytest.fixture(scope="module")
def cloud() -> Cloud:
    return Cloud.new(now=datetime.now(UTC) - timedelta(days=1))


@pytest.fixture(scope="module")
def moved(cloud: Cloud) -> Iterator[Server]:
    """An authority that took the cloud over from its Secrets, as `kubectl get -o json` lists them."""
    with server() as one:
        pair = cloud.server(x509.DNSName("cloud.example"), x509.IPAddress(ipaddress.ip_address("10.7.7.7")))
        listed = {"apiVersion": "v1", "kind": "List", "items": cloud.secrets(pair)}
        said = one.run("kubeedge", "import", "-", "--adopt-until", SOON, "--json", stdin=json.dumps(listed).encode())
        assert said.status == 0, said
        assert said.json["adopt_until"][:10] == SOON[:10]
        yield one


def test_what_edges_dialled_is_advertised_but_for_the_empty_name(moved: Server) -> None:
    assert moved.api("GET", "/v1/advertised")["names"] == ["cloud.example", "10.7.7.7"]
    served = x509.load_pem_x509_certificate(ssl.get_server_certificate(("127.0.0.1", moved.https)).encode())
    names = served.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"cloud.example", "10.7.7.7"} <= {str(name.value) for name in names}


def test_an_enrolled_node_connects_and_renews_and_its_old_certificate_is_over(moved: Server, cloud: Cloud) -> None:
    old = enrolled_by(cloud, "edge-1")
    with contextlib.closing(moved.connect(old, "edge-1")) as connection:
        assert acknowledged(connection)
        adopted = moved.api("GET", "/v1/kubeedge")["adopted"]
        assert [node["name"] for node in adopted] == ["edge-1"]
        key = new_key()
        answer = moved.enrol("edge-1", request=csr("edge-1", key), pair=old)
        assert answer.status == 200, answer
    with contextlib.closing(moved.connect(Pair(answer.body, key), "edge-1")) as connection:
        assert acknowledged(connection)
    assert "revoked" in refused_at_the_hub(moved, old, "edge-1")
    assert moved.enrol("edge-1", pair=old).status == 401
    actions = [(record["action"], record["object"]) for record in moved.audit()]
    serial = format(x509.load_der_x509_certificate(old.certificate).serial_number, "x")
    assert actions.count(("certificate.adopted", f"certificate:{serial}")) == 1
    assert "edge-1" not in [node["name"] for node in moved.api("GET", "/v1/kubeedge")["adopted"]]


def test_t20_a_second_certificate_of_a_name_is_refused_and_reported(moved: Server, cloud: Cloud) -> None:
    first, second = enrolled_by(cloud, "edge-2"), enrolled_by(cloud, "edge-2")
    moved.connect(first, "edge-2").close()
    with moved.refuses() as records:
        assert "one for each name is adopted" in refused_at_the_hub(moved, second, "edge-2")
    assert records[0]["action"] == "connection.refused.not-adopted"
    with moved.refuses() as records:
        answer = moved.enrol("edge-2", pair=second)
    assert (answer.status, records[0]["action"]) == (401, "enrolment.refused.not-adopted")
    assert "edgeward token new --node edge-2" in answer.text
    assert "is not adopted" in moved.log


def test_old_edges_are_told_what_they_are(moved: Server, cloud: Cloud) -> None:
    old = enrolled_by(cloud, "edge-3", subject=LEGACY)
    with moved.refuses():
        assert "every edge before v1.16" in refused_at_the_hub(moved, old, "edge-3")
    with moved.refuses() as records:
        answer = moved.enrol("edge-3", moved.token("edge-3"), csr(LEGACY))
    assert (answer.status, records[0]["action"]) == (403, "enrolment.refused.legacy-edge")
    assert "--allow-legacy-identity" in answer.text


def test_a_blocked_name_stays_out_though_nobody_has_seen_its_node(moved: Server, cloud: Cloud) -> None:
    before = moved.api("GET", "/v1/kubeedge")["others"]
    moved.revoke("stolen-1", "keyCompromise")
    with moved.refuses():
        assert "blocked" in refused_at_the_hub(moved, enrolled_by(cloud, "stolen-1"), "stolen-1")
    assert moved.api("GET", "/v1/kubeedge")["others"] == before, "it has no certificate here"
    assert "no revocation: " in (said := moved.run("kubeedge", "export").err) and "stolen-1" in said


def test_nobody_waits_for_an_adopted_node_that_is_revoked(moved: Server, cloud: Cloud) -> None:
    moved.connect(enrolled_by(cloud, "lost-1"), "lost-1").close()
    assert "lost-1" in [node["name"] for node in moved.api("GET", "/v1/kubeedge")["adopted"]]
    moved.revoke("lost-1", "keyCompromise")
    assert "lost-1" not in [node["name"] for node in moved.api("GET", "/v1/kubeedge")["adopted"]]


def test_keadm_finds_the_way_free_and_learns_nothing(moved: Server) -> None:
    """What `keadm join` since v1.20 asks before it starts an edge: 404 lets it go on, whatever the node."""
    answers = [moved.request("GET", f"/node/{node}") for node in ("edge-1", "new-9", "..%2f", "x" * 300)]
    assert {(answer.status, answer.text) for answer in answers} == {(404, "Node not found")}
    assert moved.request("GET", "/ca.crt").body == moved.ca


def test_adoption_ends_when_it_is_ended_and_survives_a_restart() -> None:
    made = Cloud.new(now=datetime.now(UTC) - timedelta(days=1))
    with server(start=False) as one:
        files = {"rootCA.crt": made.certificate.public_bytes(serialization.Encoding.PEM)}
        files["rootCA.key"] = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n" + (
            b"-----BEGIN EC PRIVATE KEY-----\n" + base64.encodebytes(made.key_der) + b"-----END EC PRIVATE KEY-----\n"
        )
        for name, octets in files.items():
            (one.directory / name).write_bytes(octets)
        paths = [one.directory / name for name in files]
        said = one.run("kubeedge", "import", *paths, "--adopt-until", SOON)
        assert said.status == 0, said
        one.start()
        one.connect(enrolled_by(made, "edge-1"), "edge-1").close()
        assert one.run("kubeedge", "import", "--adopt-until", "off").status == 0
        assert "is not adopted here" in refused_at_the_hub(one, enrolled_by(made, "edge-2"), "edge-2")
        assert one.run("kubeedge", "import", "--adopt-until", "2020-01-01").status == 2
        said = one.run("kubeedge", "import", *paths, "--adopt-until", SOON)
        assert said.status == 0, said
        one.restart()
        one.connect(enrolled_by(made, "edge-2"), "edge-2").close()


def test_old_edges_behind_the_flag_and_an_rsa_ca() -> None:
    made = Cloud.new(rsa.generate_private_key(65537, 2048), now=datetime.now(UTC) - timedelta(days=1))
    with server() as one:
        body = json.dumps(made.secrets()[0]).encode()
        said = one.run("kubeedge", "import", "-", "--adopt-until", SOON, "--allow-legacy-identity", stdin=body)
        assert said.status == 0, said
        old = enrolled_by(made, "old-1", subject=LEGACY)
        with contextlib.closing(one.connect(old, "old-1")) as connection:
            assert acknowledged(connection)
        key = new_key()
        answer = one.enrol("old-1", request=csr(LEGACY, key), pair=old)
        assert answer.status == 200, answer
        one.connect(Pair(answer.body, key), "old-1").close()
        key = new_key()
        answer = one.enrol("old-2", one.token("old-2"), csr(LEGACY, key))
        assert answer.status == 200, answer
        one.connect(Pair(answer.body, key), "old-2").close()


def test_a_dry_run_judges_and_changes_nothing(moved: Server, cloud: Cloud, tmp_path: Path) -> None:
    certificates = tmp_path / "certificates"
    certificates.mkdir()
    for name, pair in {
        "good": enrolled_by(cloud, "edge-11"),
        "twice": enrolled_by(cloud, "edge-11"),
        "old": enrolled_by(cloud, "", subject=LEGACY),
        "foreign": enrolled_by(Cloud.new(), "edge-12"),
        "expired": enrolled_by(cloud, "edge-13", now=datetime.now(UTC) - timedelta(days=30), days=29),
    }.items():
        (certificates / f"{name}.crt").write_bytes(ssl.DER_cert_to_PEM_cert(pair.certificate).encode())
    (certificates / "notes.txt").write_text("nothing of interest")
    before = moved.position()
    (tmp_path / "casecret.json").write_text(json.dumps(cloud.secrets()[0]))
    said = moved.run("kubeedge", "import", tmp_path / "casecret.json", certificates, "--dry-run", "--json")
    assert said.status == 1, said
    found = {Path(one["file"]).stem: [p["id"] for p in one["problems"]] for one in said.json["certificates"]}
    assert found == {
        "notes": ["unreadable"], "expired": ["expired"], "foreign": ["foreign"], "good": [], "old": ["legacy-identity"],
        "twice": ["second"],
    }  # fmt: skip
    assert moved.position() == before
    text = moved.run("kubeedge", "import", "--dry-run", certificates / "good.crt")
    assert (text.status, "adopted     edge-11" in text.out) == (0, True), text


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        ([], "nothing to do"),
        (["nowhere.yaml"], "nowhere.yaml"),
        (["ca.crt"], "the CA's private key is not among them"),
        (["ca.key"], "there is no CA certificate among them"),
        (["ca.crt", "other.key"], "none of the private keys belongs to the CA"),
        (["garbage"], "garbage"),
        (["."], "is a directory"),
        (["leaf.crt", "ca.key"], "there is no CA certificate among them"),
        (["broken.yaml"], "there is no CA certificate among them"),
    ],
)
def test_sources_that_make_no_sense(
    moved: Server, cloud: Cloud, tmp_path: Path, sources: list[str], words: str
) -> None:
    (tmp_path / "ca.crt").write_bytes(cloud.der)
    (tmp_path / "ca.key").write_bytes(cloud.key_der)
    (tmp_path / "other.key").write_bytes(Cloud.new().key_der)
    (tmp_path / "leaf.crt").write_bytes(enrolled_by(cloud, "edge-1").certificate)
    (tmp_path / "garbage").write_bytes(b"\x00\x01\x02" * 50)
    (tmp_path / "broken.yaml").write_text(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: casecret\ndata:\n  cadata: '!!!'\n  cakeydata: MA==\n"
    )
    before = moved.position()
    said = moved.run("kubeedge", "import", *sources, cwd=tmp_path)
    assert said.status in {2, 65, 69}, said
    assert "Traceback" not in said.err
    assert words in said.err, said
    assert moved.position() == before


@needs("openssl")
def test_the_secrets_that_go_out_are_read_by_openssl(moved: Server, tmp_path: Path) -> None:
    out = tmp_path / "secrets.yaml"
    said = moved.run("kubeedge", "export", "--with-ca-key", "--out", out)
    assert said.status == 0, said
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    fields = {one.key: one.octets for document in kubernetes.read(out.read_bytes()) for one in document.fields}
    assert fields["cadata"] == moved.ca
    for name in ("cakeydata", "cloudcorekeydata"):
        ran("openssl", "ec", "-inform", "DER", "-noout", "-check", stdin=fields[name])
    for name in ("cadata", "cloudcoredata"):
        der = ran("openssl", "x509", "-inform", "DER", stdin=fields[name])
        (tmp_path / name).write_bytes(der)
    trusted = ("-CAfile", tmp_path / "cadata", "-purpose", "sslserver", "-verify_hostname", "cloud.example")
    ran("openssl", "verify", *trusted, tmp_path / "cloudcoredata")
    assert moved.run("kubeedge", "export", "--out", out).status == 1, "nothing is overwritten"
    said = moved.run("kubeedge", "export")
    assert "cakeydata" not in said.out
    assert "can enrol and renew none" in said.err
    assert "ca.key-exported" in [record["action"] for record in moved.audit()]


def test_a_standing_token_is_shown_and_its_secret_kept_over_a_restart(moved: Server, tmp_path: Path) -> None:
    file = tmp_path / "tokensecret.yaml"
    made = moved.run("token", "standing", "--pattern", "shop-*", "--refresh", "12h", "--secret", file)
    assert made.status == 0, made
    assert moved.run("token", "show").out == made.out
    assert made.out.strip().encode() in [f.octets for o in kubernetes.read(file.read_bytes()) for f in o.fields]
    assert moved.enrol("shop-1", made.out.strip()).status == 200
    file.unlink()
    moved.restart()
    until(file.exists, "the Secret")
    assert moved.run("token", "show", "--pattern", "shop-*").out == made.out
    shown = moved.run("token", "show", "--json").json[0]
    assert (shown["used"], shown["refresh_seconds"], shown["secret_file"]) == (1, 43200, str(file))
    assert made.out.strip().split(".")[3] not in moved.log
    assert moved.run("token", "standing", "--pattern", "shop-*", "--stop").status == 0
    assert not file.exists()
    assert moved.enrol("shop-2", made.out.strip()).status == 403
    assert moved.run("token", "show").status == 1
    for wrong in (["--refresh", "1s"], ["--refresh", "x"], ["--pattern", "A B"]):
        assert (
            moved.run("token", "standing", *(["--pattern", "x-*"] if "--pattern" not in wrong else []), *wrong).status
            == 2
        )


LIST = """apiVersion: v1
items:
- apiVersion: v1
  data:
    cadata: {cadata}
    cakeydata: {cakeydata}
  kind: Secret
  metadata:
    creationTimestamp: "2026-11-23T12:59:14Z"
    name: casecret
    namespace: kubeedge
    resourceVersion: "1042"
    uid: 5f0c0c5e-6c5e-4a57-9d0c-1f6d1a2b3c4d
  type: Opaque
- apiVersion: v1
  data:
    tokendata: {tokendata}
  kind: Secret
  metadata:
    name: tokensecret
    namespace: kubeedge
  type: Opaque
kind: List
metadata:
  resourceVersion: ""
"""


def test_yaml_of_every_shape_is_read_before_the_first_start(moved: Server, cloud: Cloud, tmp_path: Path) -> None:
    """What `kubectl get -o yaml` prints, with a PKCS#8 key, and the documents of our own export."""
    exported = tmp_path / "exported.yaml"
    assert moved.run("kubeedge", "export", "--with-ca-key", "--out", exported).status == 0
    pkcs8 = cloud.key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    fields = {"cadata": cloud.der, "cakeydata": pkcs8, "tokendata": b"0" * 64 + b".a.b.c"}
    listed = tmp_path / "listed.yaml"
    listed.write_text(LIST.format(**{name: base64.b64encode(octets).decode() for name, octets in fields.items()}))
    for source in (exported, listed):
        with server(start=False) as one:
            said = one.run("kubeedge", "import", source, "--no-advertise")
            assert said.status == 0, said
            assert moved.api("GET", "/v1/ca")["pin"] in said.out
            assert "token" in said.out and "KubeEdge's own tokens: refused" in said.out
