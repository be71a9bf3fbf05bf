"""The messages of public KubeEdge threads, as people pasted them: each is explained, with what it says taken out of it.

The number is that of the issue (or pull request) at github.com/kubeedge/kubeedge. Only the lines with the error are here.
"""

import pytest

from edgeward.services.doctor.recognise import read

THREADS: list[tuple[str, str, str, dict[str, str]]] = [
    # the address is not in the certificate
    ("2029", "F0805 10:24:39.895267   12066 edgehub.go:78] Error: failed to get edge certificate from the cloudcore, error: Get https://121.46.27.183:10002/edge.crt: x509: certificate is valid for 192.168.0.29, not 121.46.27.183", "address-mismatch", {"name": "121.46.27.183", "valid": "192.168.0.29", "address": "121.46.27.183:10002"}),
    ("3912", 'Jun 10 13:44:05 laservm edgecore[32343]: F0610 13:44:05.938994   32343 certmanager.go:94] Error: failed to get edge certificate from the cloudcore, error: Get "https://**Proxy-IP-Address**:10002/edge.crt": x509: certificate is valid for 10.0.2.15, not **Proxy-IP-Address**', "name-mismatch", {"valid": "10.0.2.15"}),
    ("4270", '`certmanager.go:93] Error: failed to get edge certificate from the cloudcore, error: Get "https://10.100.16.86:30002/edge.crt": x509: certificate is valid for 10.234.2.14, not 10.100.16.86`', "address-mismatch", {"name": "10.100.16.86", "valid": "10.234.2.14"}),
    ("5681", "边缘节点加入云端失败：failed to verify certificate: x509: certificate is valid for 192.168.247.130, 192.168.247.131, not 192.168.247.120", "address-mismatch", {"name": "192.168.247.120", "valid": "192.168.247.130, 192.168.247.131"}),
    ("1786", "edgecore[2801]: E0608 12:56:59.055394    2801 process.go:71] failed to get edge certificate from the cloudcore, error: Get https://192.168.254.100:10002/edge.crt: x509: certificate is valid for 192.168.254.65, not 192.168.254.100\nedgecore[2801]: F0608 12:56:59.055431    2801 edgehub.go:76] failed to apply for edge certificate, error: failed to get edge certificate from the cloudcore, error: Get https://192.168.254.100:10002/edge.crt: x509: certificate is valid for 192.168.254.65, not 192.168.254.100", "address-mismatch", {"name": "192.168.254.100", "count": "2"}),
    ("5899", 'Error from server: Get "https://jenkins-slave-44:10351/containerLogs/test/nginx-7cc4557998-kpbtx/container-bbmd5s": x509: certificate is not valid for any names, but wanted to match jenkins-slave-44', "no-names", {"name": "jenkins-slave-44"}),
    # no address in the certificate at all
    ("2220", '`certmanager.go:91] Error: failed to get edge certificate from the cloudcore, error: Get "https://10.1.27.1:10002/edge.crt": x509: cannot validate certificate for 10.1.27.1 because it doesn\'t contain any IP SANs`', "no-ip-sans", {"name": "10.1.27.1"}),
    ("4418", 'F1117 14:53:34.766874   42621 certmanager.go:92] Error: failed to get edge certificate from the cloudcore, error: Get "https://10.121.134.115:10002/edge.crt": x509: cannot validate certificate for 10.121.134.11\n5 because it doesn\'t contain any IP SANs', "no-ip-sans", {"name": "10.121.134.115"}),
    ("2905", 'failed to get edge certificate from the cloudcore, error: Get "https://192.168.241.66:31002/edge.crt": x509: cannot validate certificate for 192.168.241.66 because it doesn\'t contain any IP SANs', "no-ip-sans", {"name": "192.168.241.66", "address": "192.168.241.66:31002"}),
    ("2762", ' certmanager.go:91] Error: failed to get edge certificate from the cloudcore, error: Get "https://10.10.16.82:10002/edge.crt": x509: cannot validate certificate for 10.0.6.82 because it doesn\'t contain any IP SANs', "no-ip-sans", {"name": "10.0.6.82", "host": "10.10.16.82"}),
    ("4757", "x509: cannot validate certificate for 192.168.0.179 because it doesn't contain any IP SANs", "no-ip-sans", {"name": "192.168.0.179"}),
    ("4294", 'Error: failed to get edge certificate from the cloudcore, error: Get "https://172.17.228.25:10002/edge.crt": x509: cannot validate certificate for 172.17.228.25 because it doesn\'t contain any IP SANs', "no-ip-sans", {"name": "172.17.228.25"}),
    ("3298", "dial websocket error(x509: cannot validate certificate for 192.168.204.138 because it doesn't contain any IP SANs)", "no-ip-sans", {"name": "192.168.204.138"}),
    # unknown authority
    ("5922", 'Oct 24 10:34:04 firefly edgecore[8440]: F1024 10:34:04.321933    8440 certmanager.go:94] Error: failed to get edge certificate from the cloudcore, error: Get "https://192.168.0.1:10002/edge.crt": x509: certificate signed by unknown authority (possibly because of "x509: ECDSA verification failure" while trying to verify candidate authority certificate "KubeEdge")', "same-name-other-ca", {"issuer": "KubeEdge", "go_reason": "x509: ECDSA verification failure"}),
    ("2837", ' certmanager.go:91] Error: failed to get edge certificate from the cloudcore, error: Get "https://10.10.14.82:10002/edge.crt": x509: certificate signed by unknown authority\ngoroutine 108 [running]:', "unknown-authority", {"address": "10.10.14.82:10002"}),
    ("4266", 'certmanager.go:94] Error: failed to get edge certificate from the cloudcore, error: Get "https://nginx-ip:10002/edge.crt": x509: certificate signed by unknown authority', "unknown-authority", {"host": "nginx-ip"}),
    ("4283", '**But when the edge is added to the cloud, the server certificate will be verified，“certmanager.go:94 Error: failed to get edge certificate from the cloudcore, error: Get "https://www.cloud.com/get/cert/edge.crt  x509: certificate signed by unknown authority**”', "unknown-authority", {"host": "www.cloud.com"}),
    ("4276", 'W1004 15:59:11.143464  903445 common.go:232] could not fetch a KubeEdge version from the internet: failed to get latest version from https://kubeedge.io/latestversion: Get "https://kubeedge.io/latestversion": x509: certificate signed by unknown authority', "unknown-authority", {"host": "kubeedge.io"}),
    ("1154", "2019-09-25 16:49:07.605 +08:00 ^[[0;31mERROR^[[0m client/ws.go:78 dial websocket error(x509: certificate signed by unknown authority), response message:\n2019-09-25 16:49:07.605 +08:00 ^[[0;31mERROR^[[0m wsclient/websocket.go:76 Init websocket connection failed x509: certificate signed by unknown authority", "unknown-authority", {"count": "2"}),
    ("3158", 'I0909 05:56:00.685287       1 log.go:181] http: TLS handshake error from 10.20.8.141:4734: tls: failed to verify client certificate: x509: certificate signed by unknown authority (possibly because of "x509: ECDSA verification failure" while trying to verify candidate authority certificate "KubeEdge")\nI0909 05:56:01.448866       1 log.go:181] http: TLS handshake error from 10.20.8.141:25504: tls: failed to verify client certificate: x509: certificate signed by unknown authority (possibly because of "x509: ECDSA verification failure" while trying to verify candidate authority certificate "KubeEdge")', "client-unknown-authority", {"anchor_name": "KubeEdge", "count": "2"}),
    ("5471", 'I0315 13:40:39.173982       1 log.go:184] http: TLS handshake error from 10.101.114.100:35582: tls: failed to verify client certificate: x509: certificate signed by unknown authority (possibly because of "x509: ECDSA verification failure" while trying to verify candidate authority certificate "KubeEdge")', "client-unknown-authority", {}),
    ("3729", "I0323 15:02:40.880608       1 log.go:181] http: TLS handshake error from 122.231.47.238:38665: remote error: tls: bad certificate", "server-certificate-refused", {"client_address": "122.231.47.238", "alert": "bad certificate"}),
    ("2051", "`certmanager.go:91] Error: failed to validate CA certificate. tokenCAhash: 63d2a5c4eb82fb58e5cdf251fb7bc132637fc7b99a740d01f81a203e132cf441, CAhash: 55b945018db981d8ed5148b5db20c4fc99577d2eff8908ad5a32b635915ed981`", "token-other-ca", {"pin": "63d2a5c4eb82fb58e5cdf251fb7bc132637fc7b99a740d01f81a203e132cf441", "actual": "55b945018db981d8ed5148b5db20c4fc99577d2eff8908ad5a32b635915ed981"}),
    # a load balancer that wants a client certificate
    ("5766", 'F0730 02:15:34.218333 3441209 certmanager.go:96] Error: failed to get CA certificate, err: Get "https://101.200.139.87:10002/ca.crt": remote error: tls: bad certificate', "client-certificate-missing", {"host": "101.200.139.87"}),
    ("5766", "I0730 10:17:07.223355       1 log.go:194] http: TLS handshake error from 114.241.82.90:1391: tls: client didn't provide a certificate", "client-certificate-missing", {"client": "114.241.82.90:1391"}),
    # tokens
    ("2217", "F0929 19:20:01.829807   69391 certmanager.go:91] Error: token credentials are in the wrong format", "token-form", {}),
    ("1733", "failed to apply for edge certificate, error: token credentials are in the wrong format", "token-form", {}),
    ("2362", "_**'token credentials are in wrong format'**_  (see log below)", "token-form", {}),
    ("5826", "> Nov 11 06:13:24 k8s-test-edge-02 edgecore[2883]: F1111 06:13:24.025530    2883 certmanager.go:81] failed to apply the edge certs, err: failed to get edge certificate from the cloudcore, error: failed to call http, code: 401, message: token validation failure, err: Token is expired", "token-expired", {}),
    ("3009", 'F0806 15:02:11.798017 3428747 keadm.go:27] secrets "tokensecret" not found', "token-not-there", {}),
    # the CA's key
    ("1870", "F0623 17:12:32.649126    7830 edgehub.go:78] Error: failed to save the edge certificate to local directory: /etc/kubeedge/certs/server.crt, error: certificate cannot be nil when writing to file", "empty-answer", {}),
    ("2747", "F0330 16:21:28.655128  500486 certmanager.go:91] Error: failed to save the edge key and certificate to file: /etc/kubeedge/certs/server.crt, error: certificate cannot be nil when writing to file", "empty-answer", {}),
    ("2747", "Mar 30 16:43:11 K8S-Master cloudcore[290967]: E0330 16:43:11.052197  290967 server.go:210] fail to signCerts for edgenode: K8S-Master! error:unable to ParseECPrivateKey: x509: failed to parse EC private key: asn1: str", "ca-key-unusable", {}),
    ("1994", "fail to signCerts! error:unable to ParseECPrivateKey: x509: failed to parse private key (use ParsePKCS1PrivateKey instead for this key format)", "ca-key-unusable", {}),
    ("2816", "F0427 15:15:12.522342   40945 cloudhub.go:74] failed to parse ECPrivateKey, err: x509: failed to parse EC private key: asn1: structure error: length too large", "ca-key-unusable", {}),
    ("1714", "CloudCore 1.3.0 failed to run: failed to parse EC private key: asn1: structure error: length too large", "ca-key-unusable", {}),
    ("1729", "Ca and CaKey don't exist, and will be signed by cloudcore，TLSCertFile and TLSPrivateKeyFile don't exist, and will be signed by cloudcore，failed to sign a certificate, error: failed to parse ECPrivateK", "ca-key-unusable", {}),
    ("5685", "panic: x509: cannot parse IP address of length 0", "empty-advertise-address", {}),
    # the network and the hub
    ("4474", "E0531 13:41:56.844772   37090 quic.go:98] failed dial addr <ip>:<port>, error:HandshakeTimeout: Crypto handshake did not complete in time.", "quic-handshake", {}),
    ("5648", "E0531 13:41:56.844802   37090 quicclient.go:75] Init quic connection failed HandshakeTimeout: Crypto handshake did not complete in time.\nF0531 13:41:56.844807   37090 main.go:26] HandshakeTimeout: Crypto handshake did not complete in time.", "quic-handshake", {"count": "2"}),
    ("5726", "ws.go:108] failed to read message, error: websocket: close 1006 (abnormal closure): unexpected EOF", "hub-closed", {}),
    ("1826", "208 16:38:42.811383     747 ws.go:122] failed to read message, error: websocket: close 1006 (abnormal closure): unexpected EOF", "hub-closed", {}),
    ("1152", "ERROR client/ws.go:78 dial websocket error(read tcp 202.199.13.215:36152->202.199.6.92:30030: i/o timeout), response message:", "silent", {"address": "202.199.6.92:30030"}),
    ("1699", "Init websocket connection failed remote error: tls: handshake failure", "no-common-suite", {}),
    ("4284", "TLSClientConnect error websocket: bad handshake  ，dial wss://nginx-ip:10004/v1/kubeedge/connect error websocket: bad handshake", "upgrade-refused", {"host": "nginx-ip"}),
    ("2580", 'Failed to get CA certificate, err: Get "https://192.168.3.145:10002/ca.crt": dial tcp 192.168.3.145:10002: connect: connection refused.', "port-closed", {"address": "192.168.3.145:10002"}),
    ("4796", 'certmanager.go:94] Error: failed to get CA certificate, err: Get "https://192.168.200.128:10002/ca.crt": dial tcp 192.168.200.128:10002: connect: connection refuse', "port-closed", {"address": "192.168.200.128:10002"}),
    ("4573", 'Jan 31 09:27:13 edge5 edgecore[180865]: F0131 09:27:13.137139  180865 certmanager.go:94] Error: failed to get CA certificate, err: Get "https://192.168.60.100:10002/ca.crt": dial tcp 192.168.60.100:10002: connect: connection refused', "port-closed", {"port": "10002"}),
    ("282", "ERROR:wsclient/websocket.go:76 error when init websocket connection: dial tcp 0.0.0.0:10000: connect: connection refused", "port-closed", {"address": "0.0.0.0:10000"}),
    ("4436", "1123 17:07:55.394920       1 log.go:184] http: TLS handshake error from 100.xxx.1.194:56625: read tcp 10.xxx.xxx.35:10004->100.xxx.1.194:56625: read: connection reset by peer", "closed-during-handshake", {}),
    ("4436", 'Error from server: Get "https://edge-node-1:10350/containerLogs/default/nginx-xxxxx/nginx": dial tcp: lookup edge-node-1 on 127.0.0.53:53: server misbehaving', "dns-failed", {"name": "edge-node-1"}),
    ("2269", '  TLSStreamPrivateKeyFile: Invalid value: "/etc/kubeedge/certs/stream.key": TLSStreamPrivateKeyFile not exist', "stream-certificate-missing", {}),
    ("1615", "Error: failed to open the certificate: open /etc/kubeedge/ca/rootCA.crt: no such file or directory", "file-missing", {"file": "/etc/kubeedge/ca/rootCA.crt"}),
]  # fmt: skip


@pytest.mark.parametrize(("number", "text", "meaning", "facts"), THREADS, ids=[f"{n}-{m}" for n, _, m, _ in THREADS])
def test_a_thread_is_explained(number: str, text: str, meaning: str, facts: dict[str, str]) -> None:
    reader = read(text)
    first = reader.findings[0]
    assert first.id == meaning
    shown = dict(first.facts)
    assert {name: shown.get(name) for name in facts} == facts
    assert first.remedies
    assert any("Line 1:" in line for line in first.why)


@pytest.mark.parametrize("words", ["not 1.1.1.1", "not for 1.1.1.1"])
def test_the_articles_message_in_its_own_form_and_in_gos(words: str) -> None:
    (only,) = read(f"x509: certificate is valid for 2.2.2.2, {words}").findings
    assert only.id == "address-mismatch"
    assert dict(only.facts) | {"name": "1.1.1.1", "valid": "2.2.2.2"} == dict(only.facts)
    assert "edgeward advertise add 1.1.1.1" in [remedy.command for remedy in only.remedies]


def test_a_kubeedge_message_has_kubeedges_remedy_first_and_a_bare_one_ours() -> None:
    message = "x509: certificate is valid for 192.168.0.29, not 121.46.27.183"
    assert read(message).findings[0].remedies[0].system == "edgeward"
    assert read(f"edgecore[1]: {message}").findings[0].remedies[0].system == "kubeedge"
