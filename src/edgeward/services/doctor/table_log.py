"""The catalogue of what only a log or a record shows: the server's view of a client that fails, and KubeEdge's own ways to fail."""

from edgeward.model.finding import Side
from edgeward.services.doctor.catalogue import error, note, warning

_RECREATE = (
    "kubectl -n kubeedge delete secret cloudcoresecret && kubectl -n kubeedge rollout restart deployment cloudcore"
)
_EC_CA = "openssl ecparam -name prime256v1 -genkey -noout -out rootCA.key && openssl req -x509 -new -key rootCA.key -subj /CN=KubeEdge -days 3650 -out rootCA.crt"

ENTRIES = (
    error(
        "server-certificate-refused",
        Side.SERVER,
        "the client {client} refused the server's certificate: it sent the alert {alert}",
        why=(
            "A client sends it for a name or an address that the certificate lacks, for an unknown CA, or for a date: what it dialled"
            " is not in this line, its own log says it in words.",
        ),
        remedies=(
            ("edgeward", "edgeward why {client_address}", "on an Edgeward: what this client dialled, and what it showed"),
            ("edgeward", "edgeward doctor {client_dials}", "from where the client is: the certificate as the client judges it"),
            ("kubeedge", "journalctl -u edgecore | edgeward doctor -", "on that edge: its log names the address that is missing"),
            (
                "openssl",
                "openssl s_client -connect {client_dials} -CAfile {ca} -verify_return_error </dev/null",
                "from where the client is",
            ),
        ),
        said=(
            ("Go", "http: TLS handshake error from {client}: remote error: tls: {go_alert}"),
            ("Edgeward", "handshake with {client} failed: it sent the alert: {alert}"),
        ),
    ),
    error(
        "client-not-tls",
        Side.CLIENT,
        "the client {client} speaks plain HTTP to a port that speaks TLS",
        why=("It dials http:// or ws://, or a proxy before the server has taken TLS off.",),
        remedies=(
            ("shell", "curl -vk https://{address}/", "the client must say https:// (wss:// for the hub)"),
            ("nginx", "nginx -T | grep -n proxy_pass", "pass TCP through: a `stream` server, or `proxy_pass https://…`"),
        ),
        said=(
            ("Go", "http: TLS handshake error from {client}: tls: first record does not look like a TLS handshake"),
            ("Go", "http: TLS handshake error from {client}: client sent an HTTP request to an HTTPS server"),
            ("OpenSSL", "error:0A00009C:SSL routines::http request"),
            ("nginx", "client sent plain HTTP request to HTTPS port"),
        ),
    ),
    error(
        "client-too-old",
        Side.CLIENT,
        "the client {client} offers no TLS version that the server takes",
        why=("Servers of today want TLS 1.2 at least.",),
        remedies=(
            ("openssl", "openssl s_client -connect {address} -tls1_2", "a client that is new enough"),
            ("shell", "openssl version", "on the client: 1.0.1 or later knows TLS 1.2"),
        ),
        said=(
            ("Go", "http: TLS handshake error from {client}: tls: client offered only unsupported versions: {versions}"),
            ("OpenSSL", "error:0A000102:SSL routines::unsupported protocol"),
        ),
    ),
    note(
        "closed-during-handshake",
        Side.CLIENT,
        "{client} closed the connection during the handshake, and said nothing",
        why=(
            "Load balancers and monitors that look whether a port is open do that every few seconds, and port scanners. It is nothing"
            " to mend unless a node that should connect has this address.",
        ),
        remedies=(("edgeward", "edgeward why {client_address}", "on an Edgeward: is it a node?"),),
        said=(
            ("Go", "http: TLS handshake error from {client}: EOF"),
            ("Go", "http: TLS handshake error from {client}: read tcp {local}->{client}: read: connection reset by peer"),
            ("Go", "http: TLS handshake error from {client}: read tcp {local}->{client}: i/o timeout"),
            ("Edgeward", "handshake with {client} failed: it closed the connection during the handshake"),
        ),
    ),
    error(
        "token-refused",
        Side.CLIENT,
        "the server refuses the token and does not say why",
        why=(
            "A KubeEdge cloud before 1.18 answers the same for every token that it does not take. Tokens live 24 hours and are replaced"
            " every 12; one of an earlier installation never works again.",
        ),
        remedies=(
            ("kubeedge", "keadm gettoken > token", "on the cloud: the token of now; then join with it"),
            ("edgeward", "edgeward token new --node {node} > token", "on an Edgeward"),
            ("edgeward", "edgeward doctor {address} --token @token", "judges a token without using it up"),
        ),
        said=(("KubeEdge", "Invalid authorization token"),),
    ),
    error(
        "token-missing",
        Side.CLIENT,
        "the node sent neither a token nor a certificate",
        why=("A first enrolment needs a token; edgecore takes it from modules.edgeHub.token, and empties that after the first success.",),
        remedies=(
            ("kubeedge", "keadm gettoken", "on the cloud; on the edge put it into modules.edgeHub.token of edgecore.yaml, and restart"),
            ("edgeward", "edgeward token new --node {node} > token", "on an Edgeward"),
        ),
        said=(
            ("KubeEdge", "token validation failure, token is empty"),
            ("Edgeward", "no token and no client certificate were presented"),
        ),
    ),
    error(
        "token-not-there",
        Side.SERVER,
        "the cloud has no token yet: there is no Secret tokensecret in the namespace kubeedge",
        why=("cloudcore writes it when it starts, so it is not running, it looks at another cluster, or it failed on its way.",),
        remedies=(("kubeedge", "kubectl -n kubeedge get pods,secrets; kubectl -n kubeedge logs deploy/cloudcore", "is it up, and why not"),),
        said=(("KubeEdge", 'secrets "tokensecret" not found'),),
    ),
    error(
        "empty-answer",
        Side.SERVER,
        "the cloud answered the enrolment with nothing, and the edge saved nothing",
        why=(
            "A cloudcore before 1.18 answers 200 with an empty body when it cannot sign: its own log says why, most often that the CA's"
            " key is not an EC key in SEC 1 form.",
        ),
        remedies=(
            ("kubeedge", "kubectl -n kubeedge logs deploy/cloudcore | edgeward doctor -", "on the cloud: what it could not do"),
            ("kubeedge", "openssl pkey -in /etc/kubeedge/ca/rootCA.key -noout -text", "an EC key (P-256) it must be, `BEGIN EC PRIVATE KEY`"),
        ),
        said=(("KubeEdge", "certificate cannot be nil when writing to file"),),
    ),
    error(
        "ca-key-unusable",
        Side.SERVER,
        "cloudcore cannot sign with its CA's key: it wants an EC key in SEC 1 form",
        why=(
            "It takes the first PEM block of rootCA.key and reads it as an EC private key. RSA keys, PKCS#8 keys (`BEGIN PRIVATE KEY`), and a"
            " file that begins with `EC PARAMETERS` all fail; build/tools/certgen.sh of old releases makes an RSA key.",
        ),
        remedies=(
            ("openssl", "openssl ec -in rootCA.key -out rootCA.sec1.key", "an EC key in PKCS#8 form or behind EC PARAMETERS, as SEC 1"),
            ("kubeedge", "mv /etc/kubeedge/ca /etc/kubeedge/ca.old && " + _RECREATE, "cloudcore makes an EC CA of its own; every node joins again"),
            ("openssl", _EC_CA, "a CA of your own with an EC key; every node joins again"),
            ("edgeward", "edgeward ca import --cert rootCA.crt --key rootCA.key", "an Edgeward signs with RSA and PKCS#8 keys as well"),
        ),
        said=(
            ("KubeEdge", "failed to sign a certificate, error: failed to parse ECPrivateKey, err: x509: failed to parse EC private key: {go_detail}"),
            ("KubeEdge", "unable to ParseECPrivateKey: x509: failed to parse private key (use ParsePKCS1PrivateKey instead for this key format)"),
            ("KubeEdge", "unable to ParseECPrivateKey: x509: failed to parse EC private key: {go_detail}"),
        ),
    ),
    error(
        "empty-advertise-address",
        Side.SERVER,
        "cloudcore was given an empty address to advertise, and cannot make a certificate for it",
        why=("modules.cloudHub.advertiseAddress has an empty entry: nothing was said with --advertise-address, or the chart left it out.",),
        remedies=(
            ("kubeedge", "keadm init --advertise-address=203.0.113.7", "every address that edges dial, public ones too"),
            ("kubeedge", "kubectl -n kubeedge edit configmap cloudcore", "advertiseAddress: real addresses; then restart cloudcore"),
        ),
        said=(("Go", "panic: x509: cannot parse IP address of length 0"),),
    ),
    error(
        "quic-handshake",
        Side.NETWORK,
        "the QUIC handshake with the hub did not complete in time",
        why=(
            "KubeEdge's QUIC is a version of before the standard (gQUIC Q044), over UDP 10001. Load balancers and firewalls often pass TCP"
            " alone, and nothing but a cloudcore of KubeEdge speaks it.",
        ),
        remedies=(
            (
                "kubeedge",
                "sed -i '/quic:/,/server:/s/enable: true/enable: false/; /websocket:/,/server:/s/enable: false/enable: true/'"
                " /etc/kubeedge/config/edgecore.yaml && systemctl restart edgecore",
                "WebSocket over TCP 10000, which is the default",
            ),
            ("shell", "nc -vzu {host} 10001", "does UDP get through at all?"),
        ),
        said=(("KubeEdge", "HandshakeTimeout: Crypto handshake did not complete in time."),),
    ),
    error(
        "upgrade-refused",
        Side.SERVER,
        "the hub's port answered with plain HTTP instead of opening a WebSocket",
        why=(
            "TLS stood, and then something other than a hub answered: a proxy that does not pass on `Upgrade`, a hub behind it that wants"
            " a client certificate which the proxy does not have, or the wrong port.",
        ),
        remedies=(
            ("nginx", "nginx -T | grep -n -A8 'listen.*1000[04]'", "mutual TLS does not pass an http proxy: use a `stream` server there"),
            ("edgeward", "edgeward doctor {address}", "what answers there"),
        ),
        said=(("Go", "websocket: bad handshake"),),
    ),
    warning(
        "hub-closed",
        Side.SERVER,
        "the hub's connection ended without a goodbye (WebSocket 1006)",
        why=(
            "It was open, and then the other side closed TCP: the hub closes a node whose keepalive it misses for 30 s, a second edge with"
            " the same node name takes the first one's place (then both go on like that, every half minute), a proxy ends idle"
            " connections, or the cloud restarted.",
        ),
        remedies=(
            ("edgeward", "edgeward nodes", "on an Edgeward: why each connection ended (replaced, silent, revoked)"),
            ("kubeedge", "kubectl -n kubeedge logs deploy/cloudcore | grep -i -e keepalive -e session", "at the same moment, on the cloud"),
            ("nginx", "nginx -T | grep -n -e proxy_timeout -e proxy_read_timeout", "longer than the keepalive of 15 s: 60 s"),
        ),
        said=(("Go", "websocket: close 1006 (abnormal closure): unexpected EOF"),),
    ),
    error(
        "file-missing",
        Side.CLIENT,
        "a file that is needed is not there: {file}",
        remedies=(
            ("shell", "ls -l {file}", "is it there, and may the program read it?"),
            ("kubeedge", "ls -lR /etc/kubeedge/ca /etc/kubeedge/certs", "what the node or the cloud has"),
        ),
        said=(
            ("Go", "open {file}: no such file or directory"),
            ("nginx", 'cannot load certificate "{file}": BIO_new_file() failed'),
            ("nginx", 'cannot load certificate key "{file}": BIO_new_file() failed'),
        ),
    ),
    error(
        "stream-certificate-missing",
        Side.SERVER,
        "cloudStream is on, and its own certificate files are not there",
        why=("`kubectl logs` and `exec` want stream.crt, stream.key and streamCA.crt beside the others; nothing makes them by itself.",),
        remedies=(
            ("kubeedge", "CLOUDCOREIPS='203.0.113.7' ./certgen.sh stream", "with the cluster's CA, on the cloud"),
            ("kubeedge", "kubectl -n kubeedge edit configmap cloudcore", "or modules.cloudStream.enable: false"),
        ),
        said=(("KubeEdge", "TLSStreamPrivateKeyFile not exist"), ("KubeEdge", "TLSStreamCertFile not exist")),
    ),
    error(
        "node-exists",
        Side.CLIENT,
        "the cloud has a node of this name already, so keadm does not join",
        why=("keadm goes on only when GET /node/NAME answers 404.",),
        remedies=(
            ("kubeedge", "kubectl delete node {node}", "if it is the same machine, or one that is gone"),
            ("kubeedge", "keadm join --edgenode-name=ANOTHER …", "if the name is taken by another machine"),
        ),
        said=(("KubeEdge", "the node name {node} already exists"),),
    ),
    error(
        "node-has-certificate",
        Side.CLIENT,
        "node {node} has a valid certificate already, and a token for a pattern of names enrols new names only",
        why=("Two machines may call themselves {node}; or the first one was installed anew and lost its certificate.",),
        remedies=(
            ("edgeward", "edgeward token new --node {node} > token", "a token for exactly this name replaces the certificate"),
            ("edgeward", "edgeward nodes", "is the other one online?"),
        ),
        said=(("Edgeward", "node {node} already has a valid certificate, and a pattern token enrols new names only"),),
    ),
    note(
        "failures-beyond-count",
        Side.NETWORK,
        "so many clients failed in so many ways at a time that not all were told apart ({count})",
        remedies=(("edgeward", "journalctl -u edgeward -e", "the server's log has some of them, two a second"),),
    ),
    error(
        "request-refused",
        Side.SERVER,
        "the server answered {status}: {detail}",
        remedies=(
            ("kubeedge", "kubectl -n kubeedge logs deploy/cloudcore --since=10m | edgeward doctor -", "what it says itself"),
            ("edgeward", "edgeward why {node}", "on an Edgeward"),
        ),
        said=(("KubeEdge", "failed to call http, code: {status}, message: {detail}"),),
    ),
    error(
        "revocation-unknown",
        Side.NETWORK,
        "the client could not find out whether the server's certificate is revoked, and refuses it",
        why=("Windows (schannel) wants a revocation list or OCSP answer; a private CA often offers none.",),
        remedies=(("shell", "curl --ssl-no-revoke https://{address}/", "without that check; the CA may publish a CRL instead"),),
        said=(("schannel", "CRYPT_E_NO_REVOCATION_CHECK (0x80092012)"), ("schannel", "CRYPT_E_REVOCATION_OFFLINE (0x80092013)")),
    ),
    error(
        "trust-store-empty",
        Side.CLIENT,
        "the client's trust store is empty or was not found",
        remedies=(
            ("edgeward", "edgeward trust install {ca} --store java", "into Java's own store"),
            ("shell", "keytool -list -cacerts", "which CAs Java knows"),
        ),
        said=(
            ("Java", "java.security.InvalidAlgorithmParameterException: the trustAnchors parameter must be non-empty"),
        ),
    ),
    error(
        "wrong-password",
        Side.CLIENT,
        "a key file or key store was opened with the wrong password",
        remedies=(("edgeward", "edgeward inspect {file} --password @FILE", "tries a password"),),
        said=(
            ("Java", "java.io.IOException: keystore password was incorrect"),
            ("Java", "Keystore was tampered with, or password was incorrect"),
            ("OpenSSL", "error:1C800064:Provider routines::bad decrypt"),
            ("OpenSSL", "error:06065064:digital envelope routines:EVP_DecryptFinal_ex:bad decrypt"),
        ),
    ),
    error(
        "not-pem",
        Side.CLIENT,
        "a file is not the PEM that the program expects: {file}",
        remedies=(
            ("edgeward", "edgeward doctor {file}", "what is wrong with it: DER under a PEM name, a BOM, the wrong kind"),
            ("edgeward", "edgeward convert {file} out.pem", "any format to PEM"),
        ),
        said=(
            ("Go", "tls: failed to find any PEM data in certificate input"),
            ("Go", "tls: failed to find any PEM data in key input"),
            ("OpenSSL", "error:0480006C:PEM routines::no start line"),
            ("OpenSSL", "error:0909006C:PEM routines:get_name:no start line"),
            ("Node", "error:0480006C:PEM routines::no start line"),
        ),
    ),
    warning(
        "unknown-text",
        Side.CLIENT,
        "nothing in this text is an error that is known here",
        why=("{detail}",),
        remedies=(
            ("edgeward", "edgeward doctor HOST:PORT", "asks the server itself: enrolment is on 10002, the hub on 10000"),
            ("edgeward", "journalctl -u edgecore | edgeward doctor -", "the whole log: the cause often stands before the line that shows"),
        ),
    ),
)  # fmt: skip
