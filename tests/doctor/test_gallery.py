"""The gallery: a set-up for each way in which TLS goes wrong, made for real, and what the doctor finds first.

A case is a generator that makes its set-up in a directory and yields how the doctor is asked, with `{port}` for the server's port. Where
a remedy is a command that can be typed here (`mend`), it is typed, the server starts again out of the same files, and nothing is wrong.
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from tests.doctor import servers
from tests.doctor.forge import CLIENT, NOW, SERVER, Home, by_openssl, make, root, uses
from tests.doctor.servers import context, dropping, hangs_up, http, listening, says, silent, tls
from tests.support.cli import run

LOCAL = ("localhost", "127.0.0.1")
CA = root()
GOOD = make("server", CA, names=LOCAL, usages=[SERVER])
DEVICE = make("system:node:edge-1", CA, organization="system:nodes", usages=[CLIENT])
OTHER = root("Other CA")
TWIN = root()
BETWEEN = make("Issuing CA", CA, ca=True, pathlen=0)

Serve = Callable[[], contextlib.AbstractContextManager[int]]


@dataclass(frozen=True)
class Case:
    """How the doctor is asked: the server, the arguments, and what is expected of its answer."""

    serve: Serve
    arguments: tuple[str, ...]
    mend: str = ""
    ended: Callable[[], Any] | None = None


def served(made: Any, inner: servers.Speak | None = None, **more: Any) -> Serve:
    """A TLS server of the files of a home, read anew whenever it starts."""
    return lambda: listening(tls(context(made, **more), inner))


def plainly(speak: servers.Speak) -> Serve:
    return lambda: listening(speak)


TARGET = "127.0.0.1:{port}"
TRUST = ("--ca", "{home}/ca.crt")
PAIR = ("--cert", "{home}/client.crt", "--key", "{home}/client.key")


def doctor(case: Case, home: Home, port: int, *more: str) -> tuple[int, dict[str, Any]]:
    arguments = [one.format(port=port, home=home.path) for one in (*case.arguments, *more)]
    ran = run("doctor", *arguments, "--json", "--timeout", "2")
    assert ran.status in (0, 1), ran.err + ran.out
    return ran.status, json.loads(ran.octets)


def found(answer: dict[str, Any]) -> list[str]:
    return [one["id"] for one in answer["findings"] if one["severity"] != "note"]


BROKEN: dict[str, tuple[str, Callable[[Home], Iterator[Case]]]] = {}
HEALTHY: dict[str, Callable[[Home], Iterator[Case]]] = {}


def broken(expected: str) -> Callable[[Callable[[Home], Any]], Any]:
    def register(make_case: Callable[[Home], Any]) -> Any:
        BROKEN[make_case.__name__.replace("_", "-")] = (expected, make_case)
        return make_case

    return register


def healthy(make_case: Callable[[Home], Any]) -> Any:
    HEALTHY[make_case.__name__.replace("_", "-")] = make_case
    return make_case


def simple(
    home: Home, leaf: Any = GOOD, *above: Any, anchors: Any = (CA,), mend: str = "", target: str = TARGET, **more: Any
) -> Case:
    """A server with `leaf`, and a client that trusts `anchors`."""
    home.server(leaf, *above).trusts(*anchors)
    inner = more.pop("inner", None)
    extra = tuple(more.pop("extra", ()))
    return Case(served(home, inner, **more), (target, *TRUST, *extra), mend)


# ------------------------------------------------------------------------------------------------------------------------ names


@broken("name-mismatch")
def wrong_name(home: Home) -> Case:
    return simple(
        home, make("server", CA, names=["cloud.example.com"]), extra=("--name", "other.example.com"), mend="openssl"
    )


@broken("address-mismatch")
def wrong_address(home: Home) -> Case:
    return simple(home, make("server", CA, names=["10.0.2.15", "localhost"]), mend="openssl")


@broken("no-ip-sans")
def no_address_at_all(home: Home) -> Case:
    return simple(home, make("server", CA, names=["localhost"]), mend="openssl")


@broken("ip-in-dns-san")
def address_in_a_dns_entry(home: Home) -> Case:
    return simple(home, make("server", CA, names=["dns:127.0.0.1"]), mend="openssl")


@broken("common-name-only")
def common_name_alone(home: Home) -> Case:
    return simple(home, make("localhost", CA), target="localhost:{port}", mend="openssl")


@broken("common-name-only")
def common_name_is_the_address(home: Home) -> Case:
    return simple(home, make("127.0.0.1", CA), mend="openssl")


@broken("no-names")
def no_names(home: Home) -> Case:
    return simple(home, make("server", CA), target="localhost:{port}", mend="openssl")


@broken("no-names")
def only_a_uri(home: Home) -> Case:
    return simple(home, make("server", CA, names=["uri:spiffe://test/server"]), mend="openssl")


@broken("no-ip-sans")
def empty_dns_entry_as_kubeedge_writes_it(home: Home) -> Case:
    return simple(home, make("KubeEdge", CA, names=["dns:"], organization="KubeEdge"))


@broken("name-mismatch")
def wildcard_for_two_labels(home: Home) -> Case:
    leaf = make("server", CA, names=["*.example.com"])
    return simple(home, leaf, extra=("--name", "a.b.example.com"), mend="openssl")


@broken("name-mismatch")
def wildcard_for_the_domain_itself(home: Home) -> Case:
    return simple(home, make("server", CA, names=["*.example.com"]), extra=("--name", "example.com"))


@broken("name-mismatch")
def wildcard_inside_a_label(home: Home) -> Case:
    return simple(home, make("server", CA, names=["edge*.example.com"]), extra=("--name", "edge1.example.com"))


@broken("name-for-some")
def wildcard_of_a_top_level_domain(home: Home) -> Case:
    return simple(home, make("server", CA, names=["*.lan"]), extra=("--name", "cloud.lan"), mend="openssl")


@broken("address-mismatch")
def another_ipv6_address(home: Home) -> Case:
    return simple(home, make("server", CA, names=["2001:db8::1"]), extra=("--name", "2001:db8::2"), mend="openssl")


@broken("name-mismatch")
def name_with_a_dot_in_the_certificate(home: Home) -> Case:
    return simple(home, make("server", CA, names=["cloud.example.com."]), extra=("--name", "cloud.example.com"))


# ------------------------------------------------------------------------------------------------------------------------ dates


@broken("expired")
def expired(home: Home) -> Case:
    return simple(home, make("server", CA, names=LOCAL, hours=(-48, -24)), mend="openssl")


@broken("not-yet-valid")
def not_yet_valid(home: Home) -> Case:
    return simple(home, make("server", CA, names=LOCAL, hours=(24, 48)), mend="openssl")


@broken("expired")
def expired_by_the_servers_clock_too(home: Home) -> Case:
    return simple(home, make("server", CA, names=LOCAL, hours=(-48, -24)), inner=http())


@broken("clock-behind")
def our_clock_is_behind(home: Home) -> Case:
    """The server was set up by its own clock, which is right; ours is three days behind, as the server's answer shows."""
    return simple(home, make("server", CA, names=LOCAL, hours=(70, 90)), inner=http(skew=timedelta(hours=72)))


@broken("clock-ahead")
def our_clock_is_ahead(home: Home) -> Case:
    return simple(home, make("server", CA, names=LOCAL, hours=(-90, -70)), inner=http(skew=timedelta(hours=-72)))


@broken("clocks-differ")
def clock_of_the_server_is_off(home: Home) -> Case:
    return simple(home, inner=http(skew=timedelta(hours=-3)))


@broken("expired")
def the_ca_expired(home: Home) -> Case:
    old = make("Old CA", ca=True, hours=(-24 * 400, -24))
    return simple(home, make("server", old, names=LOCAL), anchors=(old,))


@broken("expired")
def the_intermediate_expired(home: Home) -> Case:
    between = make("Issuing CA", CA, ca=True, hours=(-48, -1))
    return simple(home, make("server", between, names=LOCAL), between)


@broken("expires-soon")
def expires_in_a_day(home: Home) -> Case:
    return simple(home, make("server", CA, names=LOCAL, hours=(-24 * 364, 24)), mend="openssl")


# ------------------------------------------------------------------------------------------------------------------------ chain


@broken("unknown-authority")
def wrong_ca(home: Home) -> Case:
    return simple(home, anchors=(OTHER,))


@broken("unknown-authority")
def wrong_ca_and_the_root_is_sent(home: Home) -> Case:
    return simple(home, GOOD, CA, anchors=(OTHER,))


@broken("same-name-other-ca")
def another_ca_of_the_same_name(home: Home) -> Case:
    return simple(home, anchors=(TWIN,))


@broken("same-name-other-ca")
def another_ca_of_the_same_name_that_is_sent(home: Home) -> Case:
    return simple(home, GOOD, CA, anchors=(TWIN,))


@broken("same-name-other-ca")
def kubeedge_installed_again(home: Home) -> Case:
    first, second = (root("KubeEdge", key_ids=False) for _ in range(2))
    return simple(home, make("KubeEdge", second, names=LOCAL, organization="KubeEdge"), anchors=(first,))


@broken("missing-intermediate")
def missing_intermediate(home: Home) -> Case:
    case = simple(home, make("server", BETWEEN, names=LOCAL))
    (home.path / "intermediate.crt").write_bytes(BETWEEN.pem)
    return case


@broken("missing-intermediate")
def missing_intermediate_of_no_telling_name(home: Home) -> Case:
    between = make("ca-2", CA, ca=True)
    return simple(home, make("server", between, names=LOCAL, full_key_id=True))


@broken("chain-order")
def reversed_chain(home: Home) -> Case:
    below = make("Issuing CA 2", make("Issuing CA 1", CA, ca=True), ca=True)
    assert below.issuer is not None
    return simple(home, make("server", below, names=LOCAL), below.issuer, below, mend="edgeward")


@broken("chain-order")
def root_before_the_intermediate(home: Home) -> Case:
    return simple(home, make("server", BETWEEN, names=LOCAL), CA, BETWEEN, mend="edgeward")


@broken("self-signed")
def self_signed(home: Home) -> Case:
    return simple(home, make("server", names=LOCAL))


@broken("self-signed")
def self_signed_and_no_ca_given(home: Home) -> Case:
    home.server(make("server", names=LOCAL))
    return Case(served(home), (TARGET,))


@broken("issuer-is-no-ca")
def issuer_is_no_ca(home: Home) -> Case:
    leaf = make("not a CA", CA, names=["x.example"])
    return simple(home, make("server", leaf, names=LOCAL), leaf)


@broken("chain-rule")
def path_is_too_long(home: Home) -> Case:
    low = make("Issuing CA 2", BETWEEN, ca=True)
    return simple(home, make("server", low, names=LOCAL), low, BETWEEN)


@broken("chain-rule")
def name_is_not_permitted(home: Home) -> Case:
    only = x509.NameConstraints(permitted_subtrees=[x509.DNSName("example.com")], excluded_subtrees=None)
    between = make("Issuing CA", CA, ca=True, extra=[(only, True)])
    return simple(home, make("server", between, names=["localhost"]), between, target="localhost:{port}")


@broken("tls-intercepted")
def proxy_that_terminates_tls(home: Home) -> Case:
    """Its own certificate for the right name, and behind it the real server, whose CA it passes through."""
    inspection = root("Corporate Inspection CA")
    home.server(make("proxy", inspection, names=LOCAL)).trusts(CA)
    return Case(served(home, http(ca=CA.der)), (TARGET, *TRUST))


@broken("server-revoked")
def server_certificate_revoked(home: Home) -> Case:
    case = simple(home, extra=("--crl", "{home}/server.crl"))
    (home.path / "server.crl").write_bytes(crl(GOOD))
    return case


def crl(*revoked: Any) -> bytes:
    builder = x509.CertificateRevocationListBuilder().issuer_name(CA.certificate.subject)
    builder = builder.last_update(NOW - timedelta(hours=1)).next_update(NOW + timedelta(days=1))
    for one in revoked:
        entry = (
            x509.RevokedCertificateBuilder().serial_number(one.certificate.serial_number).revocation_date(NOW).build()
        )
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(CA.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


# ---------------------------------------------------------------------------------------------------------------- what it is for


@broken("eku-server")
def certificate_for_clients(home: Home) -> Case:
    return simple(home, make("server", CA, names=LOCAL, usages=[CLIENT]), mend="openssl")


@broken("key-usage")
def key_may_only_sign_certificates(home: Home) -> Case:
    return simple(home, make("server", CA, names=LOCAL, key_usage=uses("key_cert_sign")))


@broken("key-usage")
def ca_may_not_sign(home: Home) -> Case:
    between = make("Issuing CA", CA, ca=True, key_usage=uses("digital_signature"))
    return simple(home, make("server", between, names=LOCAL), between)


@broken("critical-extension")
def critical_extension_that_nobody_knows(home: Home) -> Case:
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")
    return simple(home, make("server", CA, names=LOCAL, extra=[(unknown, True)]), mend="openssl")


@broken("weak-key")
def weak_key(home: Home) -> Case:
    return simple(home, make("server", CA, names=LOCAL, kind="rsa1024"))


@broken("weak-signature")
def sha1(home: Home) -> Case:
    old = root("Old CA", kind="rsa2048")
    return simple(
        home, by_openssl("server", old, home.path, digest="sha1", names="IP:127.0.0.1"), anchors=(old,), mend="openssl"
    )


@broken("weak-signature")
def md5(home: Home) -> Case:
    old = root("Old CA", kind="rsa2048")
    return simple(home, by_openssl("server", old, home.path, digest="md5", names="IP:127.0.0.1"), anchors=(old,))


# -------------------------------------------------------------------------------------------------------- versions and protocols


@broken("tls-too-old")
def tls_1_0(home: Home) -> Case:
    return simple(home, versions=("TLSv1", "TLSv1"))


@broken("tls-too-old")
def tls_1_1(home: Home) -> Case:
    return simple(home, versions=("TLSv1", "TLSv1_1"))


@broken("no-common-suite")
def rsa_key_exchange_alone(home: Home) -> Case:
    leaf = make("server", CA, names=LOCAL, kind="rsa2048")
    return simple(home, leaf, versions=("TLSv1_2", "TLSv1_2"), ciphers="AES128-SHA:AES256-SHA:@SECLEVEL=0")


@broken("no-common-suite")
def suites_for_another_kind_of_key(home: Home) -> Case:
    leaf = make("server", CA, names=LOCAL, kind="rsa2048")
    return simple(home, leaf, versions=("TLSv1_2", "TLSv1_2"), ciphers="ECDHE-ECDSA-AES128-GCM-SHA256")


@broken("plain-http")
def plain_http(home: Home) -> Case:
    return Case(plainly(http(status="400 Bad Request")), (TARGET,))


@broken("plain-http")
def plain_http_that_wants_a_sound_request(home: Home) -> Case:
    """It answers a TLS hello by closing, and a request by a page."""

    def speak(connection: Any) -> None:
        head = connection.recv(65536)
        if head.startswith(b"GET "):
            connection.sendall(servers.answer("200 OK", b"hello"))

    return Case(plainly(speak), (TARGET,))


@broken("http-proxy")
def http_proxy(home: Home) -> Case:
    refusal = servers.answer("407 Proxy Authentication Required", b"", "Proxy-Authenticate: Basic realm=x")
    return Case(plainly(says(refusal)), (TARGET,))


@broken("not-tls")
def ssh(home: Home) -> Case:
    return Case(plainly(says(b"SSH-2.0-OpenSSH_9.2p1\r\n", first=True)), (TARGET,))


@broken("starttls-port")
def smtp(home: Home) -> Case:
    return Case(plainly(says(b"220 mail.example.com ESMTP Postfix\r\n", first=True)), (TARGET,))


@broken("starttls-port")
def imap(home: Home) -> Case:
    return Case(plainly(says(b"* OK IMAP4rev1 ready\r\n", first=True)), (TARGET,))


@broken("not-tls")
def something_unknown(home: Home) -> Case:
    return Case(plainly(says(b"\x00\x01\x02 what?\n")), (TARGET,))


@broken("silent")
def takes_the_connection_and_says_nothing(home: Home) -> Case:
    return Case(plainly(silent), (TARGET,))


@broken("closed-at-once")
def closes_at_once(home: Home) -> Case:
    return Case(plainly(hangs_up), (TARGET,))


@broken("alpn-refused")
def http2_alone(home: Home) -> Case:
    """A server that speaks HTTP/2 whatever the client named."""
    return simple(home, inner=says(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64" + bytes(9)))


@broken("alpn-h2")
def hub_that_chooses_http2(home: Home) -> Case:
    home.server(GOOD).trusts(CA).client(DEVICE)
    refusal = http(status="400 Bad Request", headers=("Sec-Websocket-Version: 13",))
    return Case(served(home, refusal, mutual=True, alpn=("h2", "http/1.1")), (TARGET, *TRUST, *PAIR))


@broken("rate-limited")
def too_many_at_once(home: Home) -> Case:
    return simple(home, inner=http(status="429 Too Many Requests"))


# ---------------------------------------------------------------------------------------------------------------------- network


@broken("port-closed")
def nobody_listens(home: Home) -> Case:
    @contextlib.contextmanager
    def nobody() -> Iterator[int]:
        with listening(silent) as port:
            pass
        yield port

    return Case(nobody, (TARGET,))


@broken("no-answer")
def firewall_that_drops(home: Home) -> Case:
    return Case(dropping, (TARGET,))


@broken("dns-not-found")
def name_that_does_not_exist(home: Home) -> Case:
    return Case(plainly(silent), ("no-such-host.invalid:{port}",))


# ----------------------------------------------------------------------------------------------------------- client certificates


def mutual(home: Home, leaf: Any = DEVICE, *above: Any, **more: Any) -> Case:
    home.server(GOOD).trusts(CA).client(leaf, *above, key=more.pop("key", None))
    arguments = more.pop("arguments", (TARGET, *TRUST, *PAIR))
    return Case(served(home, mutual=True, **more), arguments)


VERSIONS = {"1-2": ("TLSv1_2", "TLSv1_2"), "1-3": ("TLSv1_3", "TLSv1_3")}


def for_both(expected: str) -> Callable[[Callable[..., Case]], Any]:
    """The same with TLS 1.2 and 1.3: the refusal comes inside the handshake, or after it."""

    def register(make_case: Callable[..., Case]) -> Any:
        for version, limits in VERSIONS.items():
            name = f"{make_case.__name__.replace('_', '-')}-tls-{version}"
            BROKEN[name] = (expected, lambda home, limits=limits: make_case(home, versions=limits))  # type: ignore[misc]
        return make_case

    return register


@for_both("client-certificate-missing")
def no_client_certificate(home: Home, **more: Any) -> Case:
    return mutual(home, arguments=(TARGET, *TRUST), **more)


@for_both("client-unknown-authority")
def foreign_client_certificate(home: Home, **more: Any) -> Case:
    return mutual(home, make("system:node:edge-1", OTHER, organization="system:nodes", usages=[CLIENT]), **more)


@for_both("client-unknown-authority")
def client_certificate_of_a_twin(home: Home, **more: Any) -> Case:
    return mutual(home, make("system:node:edge-1", TWIN, organization="system:nodes", usages=[CLIENT]), **more)


@for_both("client-expired")
def client_certificate_expired(home: Home, **more: Any) -> Case:
    return mutual(home, make("system:node:edge-1", CA, usages=[CLIENT], hours=(-48, -24)), **more)


@for_both("client-not-yet-valid")
def client_certificate_not_yet_valid(home: Home, **more: Any) -> Case:
    return mutual(home, make("system:node:edge-1", CA, usages=[CLIENT], hours=(24, 48)), **more)


@for_both("client-eku")
def client_certificate_for_servers(home: Home, **more: Any) -> Case:
    return mutual(home, make("edge-1", CA, usages=[SERVER]), **more)


@for_both("client-revoked")
def client_certificate_revoked(home: Home, **more: Any) -> Case:
    (home.path / "crl.pem").write_bytes(crl(DEVICE))
    return mutual(home, **more)


@for_both("client-chain-incomplete")
def client_without_its_intermediate(home: Home, **more: Any) -> Case:
    return mutual(home, make("edge-1", BETWEEN, usages=[CLIENT]), **more)


@broken("client-weak")
def client_key_too_weak(home: Home) -> Case:
    return mutual(home, make("edge-1", CA, usages=[CLIENT], kind="rsa1024"), ciphers="DEFAULT:@SECLEVEL=2")


@broken("key-mismatch")
def key_of_another_certificate(home: Home) -> Case:
    return mutual(home, DEVICE, key=GOOD)


@broken("files-swapped")
def certificate_and_key_exchanged(home: Home) -> Case:
    return mutual(home, arguments=(TARGET, *TRUST, "--cert", "{home}/client.key", "--key", "{home}/client.crt"))


@broken("key-locked")
def encrypted_key(home: Home) -> Case:
    case = mutual(home)
    sealed = DEVICE.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    )
    (home.path / "client.key").write_bytes(sealed)
    return case


@broken("client-file")
def a_ca_where_the_key_belongs(home: Home) -> Case:
    return mutual(home, arguments=(TARGET, *TRUST, "--cert", "{home}/client.crt", "--key", "{home}/ca.crt"))


@broken("hub-is-not-enrolment")
def https_to_the_hub(home: Home) -> Case:
    home.server(make("cloud", CA, names=LOCAL, organization="Edgeward")).trusts(CA)
    return Case(served(home, mutual=True), ("https://127.0.0.1:{port}", *TRUST))


@broken("enrolment-is-not-hub")
def hub_meant_and_enrolment_dialled(home: Home) -> Case:
    return simple(home, inner=http(ca=CA.der), target="wss://127.0.0.1:{port}")


# ----------------------------------------------------------------------------------------------------------------------- healthy


@healthy
def one_way(home: Home) -> Case:
    return simple(home)


@healthy
def by_name(home: Home) -> Case:
    return simple(home, target="localhost:{port}")


@healthy
def the_root_is_sent_too(home: Home) -> Case:
    return simple(home, GOOD, CA)


@healthy
def chain_with_an_intermediate(home: Home) -> Case:
    return simple(home, make("server", BETWEEN, names=LOCAL), BETWEEN)


@healthy
def intermediate_is_the_anchor(home: Home) -> Case:
    return simple(home, make("server", BETWEEN, names=LOCAL), anchors=(BETWEEN,))


@healthy
def certificate_is_its_own_anchor(home: Home) -> Case:
    leaf = make("server", names=LOCAL)
    return simple(home, leaf, anchors=(leaf,))


@healthy
def two_cas_of_one_name_in_the_bundle(home: Home) -> Case:
    return simple(home, anchors=(TWIN, CA))


@healthy
def wildcard(home: Home) -> Case:
    return simple(home, make("server", CA, names=["*.example.com"]), extra=("--name", "cloud.example.com"))


@healthy
def name_in_capitals_and_with_a_dot(home: Home) -> Case:
    return simple(home, make("server", CA, names=["cloud.example.com"]), extra=("--name", "Cloud.Example.COM."))


@healthy
def international_name(home: Home) -> Case:
    return simple(home, make("server", CA, names=["xn--bcher-kva.example"]), extra=("--name", "bücher.example"))


@healthy
def ipv6(home: Home) -> Case:
    home.server(make("server", CA, names=["::1"])).trusts(CA)
    return Case(lambda: listening(tls(context(home)), "::1"), ("[::1]:{port}", *TRUST))


@healthy
def kubeedge_certificate(home: Home) -> Case:
    """As cloudcore makes them: no key identifiers, an empty DNS entry, keyEncipherment on an EC key, a century of validity."""
    bits = uses("digital_signature", "key_encipherment")
    ca = root(
        "KubeEdge",
        key_ids=False,
        key_usage=uses("digital_signature", "key_encipherment", "key_cert_sign"),
        usages=[SERVER, CLIENT],
    )
    leaf = make(
        "KubeEdge", ca, names=["dns:", "127.0.0.1"], organization="KubeEdge", key_ids=False, basic=False, key_usage=bits, usages=[SERVER],
        hours=(-1, 24 * 36400),
    )  # fmt: skip
    return simple(home, leaf, anchors=(ca,), inner=http(ca=ca.der))


@healthy
def the_articles_chain(home: Home) -> Case:
    """A CA without keyUsage and RSA keys, by the article's own openssl commands but for the alternative name."""
    ca = root("fridayhub.cn", kind="rsa2048", basic=True, key_ids=False)
    return simple(
        home, by_openssl("localhost", ca, home.path, digest="sha256", names="DNS:localhost,IP:127.0.0.1"), anchors=(ca,)
    )


@healthy
def ed25519(home: Home) -> Case:
    return simple(home, make("server", CA, names=LOCAL, kind="ed25519"))


@healthy
def rsa(home: Home) -> Case:
    return simple(home, make("server", CA, names=LOCAL, kind="rsa2048"))


@healthy
def tls_1_2_alone(home: Home) -> Case:
    return simple(home, versions=("TLSv1_2", "TLSv1_2"))


@healthy
def tls_1_3_alone(home: Home) -> Case:
    return simple(home, versions=("TLSv1_3", "TLSv1_3"))


@healthy
def old_versions_beside_new_ones(home: Home) -> Case:
    return simple(home, versions=("TLSv1", "TLSv1_3"))


@healthy
def mutual_tls(home: Home) -> Case:
    return mutual(home)


@healthy
def mutual_tls_1_2(home: Home) -> Case:
    return mutual(home, versions=("TLSv1_2", "TLSv1_2"))


@healthy
def mutual_with_an_intermediate(home: Home) -> Case:
    return mutual(home, make("edge-1", BETWEEN, usages=[CLIENT]), BETWEEN)


@healthy
def encrypted_key_and_its_password(home: Home) -> Case:
    case = next(iter([encrypted_key(home)]))
    (home.path / "password").write_text("secret\n")
    return Case(case.serve, (*case.arguments, "--password", "@{home}/password"))


@healthy
def short_lived(home: Home) -> Case:
    return simple(home, make("server", CA, names=LOCAL, hours=(-0.05, 0.2)))


@healthy
def http2_on_a_web_server(home: Home) -> Case:
    return simple(home, alpn=("h2", "http/1.1"))


@healthy
def does_not_speak_http(home: Home) -> Case:
    return simple(home, inner=says(b"\x20\x02\x00\x05"))


@healthy
def enrolment_server_without_a_ca_given(home: Home) -> Case:
    home.server(GOOD)
    return Case(served(home, http(ca=CA.der)), (TARGET,))


@healthy
def redirect_that_is_not_followed(home: Home) -> Case:
    return simple(home, inner=http(status="302 Found", headers=("Location: http://127.0.0.1:1/",)))


# ------------------------------------------------------------------------------------------------------------------------- tests


def test_the_gallery_is_as_large_as_promised() -> None:
    assert len(BROKEN) >= 40
    assert len(HEALTHY) >= 20


@pytest.mark.parametrize(("name", "expected"), [(name, expected) for name, (expected, _) in BROKEN.items()])
def test_the_first_finding_is_the_cause(name: str, expected: str, tmp_path: Path) -> None:
    home = Home(tmp_path)
    case = BROKEN[name][1](home)
    with case.serve() as port:
        status, answer = doctor(case, home, port)
    assert found(answer)[:1] == [expected], [(one["id"], one["what"], one["why"]) for one in answer["findings"]]
    assert status == 1
    first = next(one for one in answer["findings"] if one["severity"] != "note")
    assert first["remedies"]
    if case.mend:
        command = next(one["command"] for one in first["remedies"] if one["system"] == case.mend)
        typed = subprocess.run(
            ["bash", "-c", typeable(command)], cwd=home.path, capture_output=True, text=True, check=False
        )
        assert typed.returncode == 0, (command, typed.stderr)
        if (home.path / "fullchain.pem").exists():
            (home.path / "fullchain.pem").replace(home.path / "server.crt")
        with case.serve() as port:
            status, answer = doctor(case, home, port)
        assert status == 0, answer["findings"]


def typeable(command: str) -> str:
    """The command with this Python's edgeward in front."""
    return (
        command.replace("edgeward ", f"{sys.executable} -m edgeward ", 1)
        if command.startswith("edgeward ")
        else command
    )


@pytest.mark.parametrize("name", HEALTHY)
def test_no_false_alarm(name: str, tmp_path: Path) -> None:
    home = Home(tmp_path)
    case = HEALTHY[name](home)
    with case.serve() as port:
        status, answer = doctor(case, home, port)
    assert found(answer) == [], [(one["id"], one["what"]) for one in answer["findings"]]
    assert status == 0
