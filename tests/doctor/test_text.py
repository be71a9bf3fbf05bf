"""Pasted errors of every program, logs of every form, and texts that are made to hurt."""

import io
import json
import random
import resource
import time

import pytest

from edgeward.cli.doctor_text import pieces
from edgeward.services.doctor.catalogue import _fields
from edgeward.services.doctor.entries import ENTRIES
from edgeward.services.doctor.recognise import GROUPS, RULES, Reader, meaning_of, normal, read

SAID: list[tuple[str, str, dict[str, str]]] = [
    # OpenSSL's command line
    ("Verify return code: 21 (unable to verify the first certificate)", "unknown-authority", {}),
    ("verify error:num=20:unable to get local issuer certificate", "unknown-authority", {}),
    ("verify error:num=18:self-signed certificate", "self-signed", {}),
    ("verify error:num=10:certificate has expired", "expired", {}),
    ("error 20 at 0 depth lookup: unable to get local issuer certificate", "unknown-authority", {}),
    ("error edge.crt: verification failed\nerror 10 at 0 depth lookup: certificate has expired", "expired", {}),
    ("verify error:num=62:hostname mismatch", "name-mismatch", {}),
    ("tls: bad certificate", "client-refused", {"alert": "bad certificate"}),
    ("E1125 edgecore: failed to connect: tls: unknown certificate authority", "client-unknown-authority", {}),
    ("140735:error:14094418:SSL routines:ssl3_read_bytes:tlsv1 alert unknown ca:../ssl/record/rec_layer_s3.c:1544:SSL alert number 48", "client-unknown-authority", {}),
    ("80BB:error:0A00045C:SSL routines:ssl3_read_bytes:tlsv13 alert certificate required:../ssl/record/rec_layer_s3.c:1584:SSL alert number 116", "client-certificate-missing", {}),
    ("error:0A00010B:SSL routines:ssl3_get_record:wrong version number:../ssl/record/ssl3_record.c:354:", "plain-http", {}),
    ("error:0A000102:SSL routines:ssl_choose_client_version:unsupported protocol", "tls-too-old", {}),
    ("x509 certificate routines:X509_check_private_key:key values mismatch", "key-mismatch", {}),
    ("Could not read certificate from edge.crt\n4037:error:1608010C:STORE routines:ossl_store_handle_load_result:unsupported\nerror:0480006C:PEM routines::no start line", "not-pem", {}),
    # curl
    ("curl: (60) SSL certificate problem: unable to get local issuer certificate", "unknown-authority", {}),
    ("curl: (60) SSL: no alternative certificate subject name matches target host name 'cloud.example.com'", "name-mismatch", {"name": "cloud.example.com"}),
    ("curl: (60) SSL: no alternative certificate subject name matches target ipv4 address '10.0.0.7'", "address-mismatch", {"name": "10.0.0.7"}),
    ("curl: (60) SSL certificate problem: certificate has expired", "expired", {}),
    ("curl: (56) OpenSSL SSL_read: error:0A00045C:SSL routines::tlsv13 alert certificate required, errno 0", "client-certificate-missing", {}),
    ("curl: (35) error:0A000410:SSL routines::sslv3 alert handshake failure", "no-common-suite", {}),
    ("curl: (7) Failed to connect to 10.0.0.1 port 10002 after 0 ms: Connection refused", "port-closed", {"address": "10.0.0.1:10002"}),
    ("curl: (6) Could not resolve host: cloud.example.com", "dns-not-found", {"name": "cloud.example.com"}),
    ("curl: (1) Received HTTP/0.9 when not allowed\ncurl: (35) error:0A00010B:SSL routines::wrong version number", "plain-http", {}),
    # Java
    ("Exception in thread \"main\" javax.net.ssl.SSLHandshakeException: PKIX path building failed: sun.security.provider.certpath.SunCertPathBuilderException: unable to find valid certification path to requested target", "unknown-authority", {}),
    ("java.security.cert.CertificateException: No subject alternative DNS name matching cloud.example.com found.", "name-mismatch", {"name": "cloud.example.com"}),
    ("java.security.cert.CertificateException: No subject alternative names matching IP address 10.0.0.7 found", "address-mismatch", {"name": "10.0.0.7"}),
    ("Caused by: java.security.cert.CertificateException: No subject alternative names present", "no-names", {}),
    ("Caused by: java.security.cert.CertificateExpiredException: NotAfter: Tue Nov 24 10:00:00 UTC 2026", "expired", {"not_after": "Tue Nov 24 10:00:00 UTC 2026"}),
    ("java.security.cert.CertificateNotYetValidException: NotBefore: Thu Nov 26 10:00:00 UTC 2026", "not-yet-valid", {}),
    ("javax.net.ssl.SSLHandshakeException: Received fatal alert: bad_certificate", "client-refused", {"alert": "bad certificate"}),
    ("javax.net.ssl.SSLHandshakeException: Received fatal alert: certificate_required", "client-certificate-missing", {}),
    ("javax.net.ssl.SSLException: Unsupported or unrecognized SSL message", "plain-http", {}),
    ("javax.net.ssl.SSLHandshakeException: Remote host terminated the handshake", "closed-at-once", {}),
    ("java.security.InvalidAlgorithmParameterException: the trustAnchors parameter must be non-empty", "trust-store-empty", {}),
    ("java.io.IOException: keystore password was incorrect", "wrong-password", {}),
    ("java.net.ConnectException: Connection refused (Connection refused)", "port-closed", {}),
    ("java.net.UnknownHostException: cloud.example.com: Name or service not known", "dns-not-found", {"name": "cloud.example.com"}),
    # Node
    ("Error [ERR_TLS_CERT_ALTNAME_INVALID]: Hostname/IP does not match certificate's altnames: Host: cloud.example.com. is not in the cert's altnames: DNS:localhost, IP Address:127.0.0.1", "name-mismatch", {"name": "cloud.example.com"}),
    ("Error [ERR_TLS_CERT_ALTNAME_INVALID]: Hostname/IP does not match certificate's altnames: IP: 10.0.0.7 is not in the cert's list: 127.0.0.1", "address-mismatch", {"name": "10.0.0.7", "valid": "127.0.0.1"}),
    ("Error: unable to verify the first certificate\n  code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE'", "unknown-authority", {}),
    ("code: 'DEPTH_ZERO_SELF_SIGNED_CERT'", "self-signed", {}),
    ("Error: certificate has expired\n    code: 'CERT_HAS_EXPIRED'", "expired", {}),
    ("Error: connect ECONNREFUSED 10.0.0.1:10002", "port-closed", {"address": "10.0.0.1:10002"}),
    ("Error: getaddrinfo ENOTFOUND cloud.example.com", "dns-not-found", {"name": "cloud.example.com"}),
    ("code: 'ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED'", "client-certificate-missing", {}),
    ("code: 'ERR_SSL_TLSV1_ALERT_UNKNOWN_CA'", "client-unknown-authority", {}),
    ("code: 'ERR_SSL_WRONG_VERSION_NUMBER'", "plain-http", {}),
    # Python
    ("ssl.SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local issuer certificate (_ssl.c:1006)", "unknown-authority", {}),
    ("ssl.SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: Hostname mismatch, certificate is not valid for 'cloud.example.com'. (_ssl.c:1006)", "name-mismatch", {"name": "cloud.example.com"}),
    ("ssl.SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: IP address mismatch, certificate is not valid for '10.0.0.7'. (_ssl.c:1006)", "address-mismatch", {"name": "10.0.0.7"}),
    ("requests.exceptions.SSLError: HTTPSConnectionPool(host='10.0.0.7', port=443): Max retries exceeded with url: / (Caused by SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate (_ssl.c:1006)')))", "self-signed", {}),
    ("ssl.SSLError: [SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert unknown ca (_ssl.c:2580)", "client-unknown-authority", {}),
    ("ssl.SSLError: [SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)", "plain-http", {}),
    ("ssl.SSLError: [SSL: KEY_VALUES_MISMATCH] key values mismatch (_ssl.c:3900)", "key-mismatch", {}),
    ("ssl.CertificateError: hostname '10.0.0.7' doesn't match 'localhost'", "address-mismatch", {"valid": "localhost"}),
    # nginx
    ("2026/11/25 10:00:00 [info] 7#7: *1 client SSL certificate verify error: (21:unable to verify the first certificate) while reading client request headers, client: 10.0.0.9, server: localhost, request: \"GET / HTTP/1.1\", host: \"localhost\"", "client-unknown-authority", {"client": "10.0.0.9"}),
    ("2026/11/25 10:00:00 [info] 7#7: *2 client sent no required SSL certificate while reading client request headers, client: 10.0.0.9, server: localhost", "client-certificate-missing", {}),
    ("2026/11/25 10:00:00 [info] 7#7: *3 SSL_do_handshake() failed (SSL: error:0A000412:SSL routines::sslv3 alert bad certificate:SSL alert number 42) while SSL handshaking, client: 10.0.0.9, server: 0.0.0.0:443", "server-certificate-refused", {"client_address": "10.0.0.9"}),
    ("2026/11/25 10:00:00 [info] 7#7: *4 client sent plain HTTP request to HTTPS port while reading client request headers, client: 10.0.0.9, server: localhost", "client-not-tls", {}),
    ("2026/11/25 10:00:00 [error] 7#7: *5 upstream SSL certificate verify error: (20:unable to get local issuer certificate) while SSL handshaking to upstream, client: 10.0.0.9, server: x, upstream: \"https://10.0.0.1:10002/\"", "unknown-authority", {}),
    ("2026/11/25 10:00:00 [error] 7#7: *6 upstream SSL certificate does not match \"cloud.example.com\" while SSL handshaking to upstream", "name-mismatch", {"name": "cloud.example.com"}),
    ("nginx: [emerg] cannot load certificate \"/etc/nginx/server.crt\": BIO_new_file() failed (SSL: error:80000002:system library::No such file or directory", "file-missing", {"file": "/etc/nginx/server.crt"}),
    ("nginx: [emerg] SSL_CTX_use_PrivateKey(\"/etc/nginx/server.key\") failed (SSL: error:05800074:x509 certificate routines::key values mismatch)", "key-mismatch", {}),
    ("2026/11/25 10:00:00 [error] 7#7: *7 connect() failed (111: Connection refused) while connecting to upstream, client: 10.0.0.9, server: x, upstream: \"https://10.0.0.1:10002/edge.crt\"", "port-closed", {"address": "10.0.0.1:10002"}),
    # mosquitto
    ("1764064800: OpenSSL Error[0]: error:0A000418:SSL routines::tlsv1 alert unknown ca", "server-certificate-refused", {"alert": "unknown ca"}),
    ("1764064800: OpenSSL Error[0]: error:0A0000C7:SSL routines::peer did not return a certificate", "client-certificate-missing", {}),
    ("OpenSSL Error[0]: error:0A000086:SSL routines::certificate verify failed", "unknown-authority", {}),
    # browsers
    ("NET::ERR_CERT_AUTHORITY_INVALID", "unknown-authority", {}),
    ("NET::ERR_CERT_COMMON_NAME_INVALID", "name-mismatch", {}),
    ("ERR_BAD_SSL_CLIENT_AUTH_CERT", "client-refused", {}),
    ("Error code: SEC_ERROR_UNKNOWN_ISSUER", "unknown-authority", {}),
    ("Error code: SSL_ERROR_BAD_CERT_DOMAIN", "name-mismatch", {}),
    ("Error code: MOZILLA_PKIX_ERROR_SELF_SIGNED_CERT", "self-signed", {}),
    ("SSL_ERROR_RX_RECORD_TOO_LONG", "plain-http", {}),
    # GnuTLS, rustls, Windows
    ("- Status: The certificate is NOT trusted. The certificate issuer is unknown. ", "unknown-authority", {}),
    ("- Status: The certificate is NOT trusted. The name in the certificate does not match the expected. ", "name-mismatch", {}),
    ("- Status: The certificate is NOT trusted. The certificate chain uses expired certificate. ", "expired", {}),
    ("*** Fatal error: A TLS fatal alert has been received.\n*** Received alert [116]: Certificate is required", "client-certificate-missing", {}),
    ("*** Fatal error: An unexpected TLS packet was received.", "plain-http", {}),
    ("invalid peer certificate: UnknownIssuer", "unknown-authority", {}),
    ("invalid peer certificate: certificate not valid for name \"cloud.example.com\"; certificate is only valid for DnsName(\"localhost\")", "name-mismatch", {"name": "cloud.example.com"}),
    ("received fatal alert: CertificateRequired", "client-certificate-missing", {}),
    ("received corrupt message of type InvalidContentType", "plain-http", {}),
    ("schannel: SEC_E_UNTRUSTED_ROOT (0x80090325) - The certificate chain was issued by an authority that is not trusted.", "unknown-authority", {}),
    ("schannel: SNI or certificate check failed: SEC_E_WRONG_PRINCIPAL (0x80090322) - The target principal name is incorrect.", "name-mismatch", {}),
    ("curl: (35) schannel: next InitializeSecurityContext failed: CRYPT_E_NO_REVOCATION_CHECK (0x80092012)", "revocation-unknown", {}),
    # Go, as others embed it
    ("remote error: tls: certificate required", "client-certificate-missing", {}),
    ("remote error: tls: unknown certificate authority", "client-unknown-authority", {}),
    ("tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 2026-11-25T10:00:00Z is after 2026-11-24T10:00:00Z", "expired", {"not_after": "2026-11-24T10:00:00Z"}),
    ("x509: certificate has expired or is not yet valid: current time 2026-11-25T10:00:00Z is before 2026-11-26T10:00:00Z", "not-yet-valid", {"not_before": "2026-11-26T10:00:00Z"}),
    ("http: TLS handshake error from 10.0.0.9:4: tls: failed to verify client certificate: x509: certificate has expired or is not yet valid: current time 2026-11-25T10:00:00Z is after 2026-11-24T10:00:00Z", "client-expired", {}),
    ("http: server gave HTTP response to HTTPS client", "plain-http", {}),
    ("tls: private key does not match public key", "key-mismatch", {}),
    ("dial tcp: lookup cloud.example.com on 10.0.0.2:53: no such host", "dns-not-found", {"name": "cloud.example.com"}),
    ("dial tcp [2001:db8::1]:10002: connect: no route to host", "no-route", {"address": "[2001:db8::1]:10002"}),
    # ours
    ("error: the token expired at 2026-11-25T10:00:00+00:00", "token-expired", {"expired_at": "2026-11-25T10:00:00+00:00"}),
    ("error: TLS with 10.0.0.7:10002 failed: the certificate is valid for localhost, 127.0.0.1, not for 10.0.0.7", "address-mismatch", {"name": "10.0.0.7", "valid": "localhost, 127.0.0.1"}),
    ("handshake with 10.0.0.9 failed: it sent the alert: bad certificate", "server-certificate-refused", {"client_address": "10.0.0.9"}),
    ("refused: the token is not valid here", "token-unknown", {}),
    ("the token has been used 1 of 1 times", "token-spent", {}),
    ("node edge-1 is blocked: revoked, keyCompromise", "node-blocked", {"node": "edge-1"}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "meaning", "facts"), SAID, ids=[f"{n}-{m}" for n, (_, m, _) in enumerate(SAID)])
def test_what_a_program_says_is_explained(text: str, meaning: str, facts: dict[str, str]) -> None:
    found = read(text).findings
    assert found, "nothing was recognised"
    assert found[0].id == meaning
    shown = dict(found[0].facts)
    assert {name: shown.get(name) for name in facts} == facts


LIKE = {
    "unknown-authority": {"missing-intermediate", "tls-intercepted", "self-signed", "same-name-other-ca"},
    "same-name-other-ca": {"unknown-authority", "issuer-is-no-ca", "weak-signature"},
}
"""Causes that programs word alike: a text names the commonest."""


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES.keys())
def test_what_the_doctor_says_that_programs_print_is_recognised_again(entry) -> None:
    for program, template in entry.said:
        facts = {name: f"x{n}.example" for n, name in enumerate(sorted(_fields(template)))}
        facts |= dict.fromkeys(facts.keys() & {"pin", "actual"}, "ab" * 32)
        facts |= {
            "client": "192.0.2.9:4711",
            "address": "192.0.2.1:10002",
            "go_alert": "bad certificate",
            "alert": "bad certificate",
            "status": "500",
            "java_alert": "bad_certificate",
            "now": "2026-11-25T10:00:00Z",
            "not_after": "2026-11-24T10:00:00Z",
            "not_before": "2026-11-26T10:00:00Z",
        }
        message = template.format_map(facts)
        if len(message) < 12:
            continue
        assert meaning_of(normal(message)) is not None, (program, message)


def test_a_log_is_grouped_counted_and_begins_with_the_cause() -> None:
    name = 'edgecore[7]: F{0} Error: Get "https://10.0.0.7:10002/edge.crt": x509: certificate is valid for 10.0.2.15, not 10.0.0.7'
    lines = [
        "Nov 25 10:00:00 edge systemd[1]: Started edgecore.service",
        "Nov 25 10:00:01 edge cloudcore[9]: http: TLS handshake error from 10.0.0.4:1: EOF",
        *(f"Nov 25 10:00:{second:02} edge " + name.format(second) for second in range(2, 52)),
        "Nov 25 10:01:00 edge edgecore[7]: websocket: close 1006 (abnormal closure): unexpected EOF",
        "Nov 25 10:01:01 edge edgecore[7]: dial tcp 10.0.0.7:10000: connect: connection refused",
    ]
    found = read("\n".join(lines)).findings
    assert [one.id for one in found] == ["address-mismatch", "port-closed", "hub-closed", "closed-during-handshake"]
    assert dict(found[0].facts)["count"] == "50"
    assert found[0].why[0].startswith("Line 3: ")
    assert any("the last time at Nov 25 10:00:51" in line for line in found[0].why)


MESSAGE = "x509: certificate is valid for 10.0.2.15, not 121.46.27.183"


@pytest.mark.parametrize(
    "text",
    [
        f"\x1b[31mERROR\x1b[0m {MESSAGE}",
        f"^[[0;31mERROR^[[0m {MESSAGE}",
        json.dumps({"log": f'Get "https://121.46.27.183:10002/edge.crt": {MESSAGE}\n', "stream": "stderr"}),
        json.dumps(json.dumps({"msg": f'Get "x": {MESSAGE}'})),
        f"level=error msg=\"Get \\\"https://121.46.27.183:10002/edge.crt\\\": {MESSAGE}\"",
        MESSAGE.replace("not ", "not\n"),
        MESSAGE.replace("121.46.27.183", "121.46.\n27.183"),
        MESSAGE.replace("121.46.27.183", "121.46.27.\r\n183"),
        f"2026-11-25T10:00:00.000Z stderr F {MESSAGE}\r\n",
        f"``` {MESSAGE} ```",
        f"> {MESSAGE}.",
    ],
)  # fmt: skip
def test_a_message_is_found_in_whatever_it_is_wrapped(text: str) -> None:
    (only,) = read(text).findings
    facts = dict(only.facts)
    assert (only.id, facts["name"], facts["valid"]) == ("address-mismatch", "121.46.27.183", "10.0.2.15")


@pytest.mark.parametrize(
    "text",
    ["", "hello", "it works", "GET / 200", "certificate", "tls", "x509:", "Nov 25 10:00:00 edge edgecore[1]: I1125 started", "EOF", "Error", "error error error", "Verify return code: 0 (ok)", "token", "ok\n" * 1000],
)  # fmt: skip
def test_what_is_no_error_is_not_made_one(text: str) -> None:
    assert read(text).findings == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings(encoding: str) -> None:
    reader = Reader()
    for text in pieces(io.BytesIO(f"начало\r\n{MESSAGE}\r\n".encode(encoding))):
        reader.feed(text)
    reader.finish()
    assert [one.id for one in reader.findings] == ["address-mismatch"]


def test_octets_of_all_kinds_are_read_and_a_line_without_end_is_cut() -> None:
    octets = (
        bytes(random.Random(7).randrange(256) for _ in range(200_000))
        + b"\n"
        + MESSAGE.encode()
        + b"\x00\n"
        + b"a" * 2_500_000
    )
    reader = Reader()
    for text in pieces(io.BytesIO(octets)):
        reader.feed(text)
    reader.finish()
    assert [one.id for one in reader.findings if one.id == "address-mismatch"]


HOSTILE = [
    "certificate is valid for " * 170,
    "certificate is valid for a, " * 150 + "not ",
    "token " * 700,
    "dial tcp " + "1." * 2000,
    "TLS handshake error from " + "a" * 4000,
    "TLS handshake error from [" + ":" * 4000,
    "x509: certificate signed by unknown authority (possibly because of \"" * 60,
    "SSL routines" + ":ssl" * 1000,
    "ssl " * 1000 + "alert ",
    "ERR_" + "A_" * 2000,
    "_" * 4090,
    "Host: " * 600 + "is not in the cert's altnames",
    "hostname '" + "' doesn't match '" * 250,
    "https://" * 500,
    "read tcp " + "a:1->" * 700 + ": i/o timeout",
    "upstream timed out " + "upstream: \"" * 300,
    "fatal alert has been received" * 130,
    "\\\"" * 2000 + "x509: certificate",
    "not after before current time " * 130 + "expired or is not yet valid: current time",
]  # fmt: skip


@pytest.mark.parametrize("line", HOSTILE, ids=range(len(HOSTILE)))
def test_no_line_takes_long(line: str) -> None:
    """A line has 4,096 characters at most; the time for one is bounded, whatever is in it. CPU time, the best of three."""
    meaning_of("warm")
    spent = []
    for _ in range(3):
        began = time.process_time()
        read(line)
        spent.append(time.process_time() - began)
    assert min(spent) < 0.15


def test_every_pattern_takes_time_that_grows_with_the_line() -> None:
    for rule in RULES:
        text = (rule.needle + " ") * (4000 // (len(rule.needle) + 1))
        began = time.process_time()
        for _ in rule.pattern.finditer(text):
            break
        assert time.process_time() - began < 0.5, rule.pattern.pattern


def test_a_long_log_is_read_in_bounded_memory() -> None:
    """8 MB, a sixth of it errors: what is kept does not grow with the text."""
    quiet = "".join(
        f"Nov 25 10:00:00 edge edgecore[7]: I1125 10:00:00.{n:06} 7 edged.go:10] Sync VolumesInUse: []\n"
        for n in range(10_000)
    )
    loud = "".join(
        f"Nov 25 10:00:00 edge cloudcore[7]: http: TLS handshake error from 10.{n % 250}.0.1:{n}: remote error: tls: bad certificate\n"
        for n in range(2_000)
    )
    reader = Reader()
    reader.feed(quiet + loud)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    octets = 0
    while octets < 8_000_000:
        reader.feed(quiet + loud)
        octets += len(quiet) + len(loud)
    reader.finish()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000
    assert len(reader.findings) <= GROUPS
    assert sum(int(dict(one.facts).get("count", "1")) for one in reader.findings) == reader.sighted


def test_more_kinds_of_errors_than_are_told_apart_are_counted() -> None:
    found = read("\n".join(f"x509: certificate is valid for a, not b{n}.example" for n in range(GROUPS + 50))).findings
    assert len(found) == GROUPS
    assert any("50 more errors" in line for line in found[-1].why)


def test_t51_what_a_log_says_cannot_move_a_terminal_or_get_into_a_command() -> None:
    (only,) = read("x509: certificate is valid for \x1b[2Ja\u202eb, not $(reboot);`id`").findings
    assert all(line.isprintable() for line in (only.what, *only.why, *(message for _, message in only.said)))
    assert not [remedy.command for remedy in only.remedies if "reboot" in remedy.command or "`" in remedy.command]
