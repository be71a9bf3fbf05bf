"""The catalogue, from the name to the first octets: resolving, connecting, and what a port speaks."""

from edgeward.model.finding import Side
from edgeward.services.doctor.catalogue import error, note, warning

ENTRIES = (
    error(
        "dns-not-found",
        Side.CLIENT,
        "the name {name} does not exist for this machine's resolver",
        why=("No address was found, so nothing was dialled.",),
        remedies=(
            ("shell", "getent hosts {name}", "asks the resolver again; correct the name, or the DNS record"),
            ("shell", "echo '203.0.113.7 {name}' | sudo tee -a /etc/hosts", "with the server's own address, where there is no DNS"),
            ("edgeward", "edgeward advertise add {name}", "on the server, once the name leads there: its certificate must have it"),
        ),
        said=(
            ("Go", "dial tcp: lookup {name}: no such host"),
            ("Go", "dial tcp: lookup {name} on {resolver}: no such host"),
            ("OpenSSL", "BIO_lookup_ex:system lib:../crypto/bio/bio_addr.c:738:Name or service not known"),
            ("Java", "java.net.UnknownHostException: {name}"),
            ("Node", "getaddrinfo ENOTFOUND {name}"),
            ("Python", "[Errno -2] Name or service not known"),
            ("Python", "[Errno -5] No address associated with hostname"),
            ("curl", "Could not resolve host: {name}"),
        ),
    ),
    error(
        "dns-failed",
        Side.NETWORK,
        "the resolver of this machine does not answer for {name}: {why}",
        remedies=(("shell", "cat /etc/resolv.conf; getent hosts {name}", "which resolver is asked, and whether it answers now"),),
        said=(
            ("Go", "dial tcp: lookup {name}: Temporary failure in name resolution"),
            ("Go", "dial tcp: lookup {name} on {resolver}: server misbehaving"),
            ("Go", "dial tcp: lookup {name}: i/o timeout"),
            ("Java", "java.net.UnknownHostException: {name}: Temporary failure in name resolution"),
            ("Node", "getaddrinfo EAI_AGAIN {name}"),
            ("Python", "[Errno -3] Temporary failure in name resolution"),
        ),
    ),
    error(
        "port-closed",
        Side.SERVER,
        "nothing listens on {address}: the connection was refused",
        why=("The machine is there and answered at once, so no firewall drops this; the server is not running, or listens elsewhere.",),
        remedies=(
            ("edgeward", "edgeward up", "starts the authority: enrolment on 10002, the hub on 10000"),
            ("kubeedge", "kubectl -n kubeedge get pods,svc -o wide", "is cloudcore running, and on which NodePort (30000 to 30004)?"),
            ("shell", "ss -ltnp", "on the server: what listens, and on which address (127.0.0.1 is reached from itself alone)"),
        ),
        said=(
            ("Go", "dial tcp {address}: connect: connection refused"),
            ("OpenSSL", "connect:errno=111"),
            ("Java", "java.net.ConnectException: Connection refused"),
            ("Node", "connect ECONNREFUSED {address}"),
            ("Python", "[Errno 111] Connection refused"),
            ("nginx", "connect() failed (111: Connection refused) while connecting to upstream"),
        ),
    ),
    error(
        "no-answer",
        Side.NETWORK,
        "{address} does not answer at all: no connection within {seconds} s",
        why=(
            "A machine without a listener refuses at once; silence is a firewall or a security group that drops packets, a route that"
            " leads nowhere, or a machine that is switched off or overloaded.",
        ),
        remedies=(
            ("shell", "sudo nft list ruleset; sudo iptables -S", "on the server and between: let TCP port {port} in"),
            ("shell", "nc -vz -w 3 {host} {port}", "from another network: is it the same from there?"),
        ),
        said=(
            ("Go", "dial tcp {address}: i/o timeout"),
            ("Go", "dial tcp {address}: connect: connection timed out"),
            ("OpenSSL", "connect:errno=110"),
            ("Java", "java.net.SocketTimeoutException: Connect timed out"),
            ("Java", "java.net.ConnectException: Connection timed out"),
            ("Node", "connect ETIMEDOUT {address}"),
            ("Python", "[Errno 110] Connection timed out"),
            ("nginx", "upstream timed out (110: Connection timed out) while connecting to upstream"),
        ),
    ),
    error(
        "no-route",
        Side.NETWORK,
        "no way leads to {address}: {why}",
        remedies=(("shell", "ip route get {host}", "which way this machine would take"),),
        said=(
            ("Go", "dial tcp {address}: connect: no route to host"),
            ("Go", "dial tcp {address}: connect: network is unreachable"),
            ("OpenSSL", "connect:errno=113"),
            ("Java", "java.net.NoRouteToHostException: No route to host"),
            ("Node", "connect EHOSTUNREACH {address}"),
            ("Node", "connect ENETUNREACH {address}"),
            ("Python", "[Errno 113] No route to host"),
            ("Python", "[Errno 101] Network is unreachable"),
        ),
    ),
    warning(
        "some-addresses-fail",
        Side.NETWORK,
        "{name} has several addresses, and {failing} cannot be reached",
        why=("A client that tries this address first waits, or gives up: programs differ in how many addresses they try.",),
        remedies=(("shell", "getent ahosts {name}", "the addresses; take the one that fails out of DNS, or mend it"),),
    ),
    warning(
        "addresses-differ",
        Side.SERVER,
        "the addresses of {name} show different certificates",
        why=("{detail}",),
        remedies=(("edgeward", "edgeward inspect {address}", "the certificate of one address; compare them"),),
    ),
    error(
        "plain-http",
        Side.SERVER,
        "{address} speaks plain HTTP, not TLS",
        why=("A TLS hello was answered with text; what this port wants is an HTTP request in the clear.",),
        remedies=(
            ("edgeward", "edgeward doctor {host}:10002", "the enrolment port of an Edgeward or KubeEdge cloud is 10002, the hub's 10000"),
            ("openssl", "curl -v http://{address}/", "to see what it is; for TLS give the server a certificate (nginx: `listen PORT ssl`)"),
        ),
        said=(
            ("Go", "http: server gave HTTP response to HTTPS client"),
            ("Go", "tls: first record does not look like a TLS handshake"),
            ("OpenSSL", "error:0A00010B:SSL routines:ssl3_get_record:wrong version number"),
            ("Java", "javax.net.ssl.SSLException: Unsupported or unrecognized SSL message"),
            ("Node", "error:0A00010B:SSL routines:ssl3_get_record:wrong version number"),
            ("Node", "write EPROTO"),
            ("Python", "[SSL: WRONG_VERSION_NUMBER] wrong version number"),
        ),
    ),
    error(
        "starttls-port",
        Side.CLIENT,
        "{address} speaks {protocol} in the clear and changes to TLS only when asked to",
        remedies=(
            ("openssl", "openssl s_client -connect {address} -starttls {starttls}", "asks for TLS first"),
            ("shell", "openssl s_client -connect {host}:{tls_port}", "the port on which {protocol} begins with TLS"),
        ),
        said=(
            ("Go", "tls: first record does not look like a TLS handshake"),
            ("OpenSSL", "error:0A00010B:SSL routines:ssl3_get_record:wrong version number"),
            ("Java", "javax.net.ssl.SSLException: Unsupported or unrecognized SSL message"),
            ("Python", "[SSL: WRONG_VERSION_NUMBER] wrong version number"),
        ),
    ),
    error(
        "not-tls",
        Side.SERVER,
        "{address} does not speak TLS: it speaks {protocol}",
        remedies=(("shell", "ss -ltnp 'sport = :{port}'", "on the server: which program listens there; dial the right port"),),
        said=(
            ("Go", "tls: first record does not look like a TLS handshake"),
            ("OpenSSL", "error:0A00010B:SSL routines:ssl3_get_record:wrong version number"),
            ("Java", "javax.net.ssl.SSLException: Unsupported or unrecognized SSL message"),
            ("Node", "error:0A00010B:SSL routines:ssl3_get_record:wrong version number"),
            ("Python", "[SSL: WRONG_VERSION_NUMBER] wrong version number"),
        ),
    ),
    error(
        "silent",
        Side.SERVER,
        "{address} takes the connection and then says nothing: no answer to a TLS hello within {seconds} s",
        why=(
            "The connection was made by the system or by a load balancer; the program behind it hangs, waits for another protocol,"
            " or something between lets the connection through and drops what follows (a large hello in small packets, say).",
        ),
        remedies=(
            ("shell", "ss -ltn 'sport = :{port}'", "on the server: a Recv-Q that stays full means that the program accepts nothing"),
            ("edgeward", "edgeward up", "starts it again, if it is an Edgeward that hangs"),
        ),
        said=(
            ("Go", "net/http: TLS handshake timeout"),
            ("Go", "read tcp {local}->{address}: i/o timeout"),
            ("Java", "java.net.SocketTimeoutException: Read timed out"),
            ("Node", "Client network socket disconnected before secure TLS connection was established"),
            ("Python", "The handshake operation timed out"),
            ("Python", "_ssl.c:989: The handshake operation timed out"),
        ),
    ),
    error(
        "closed-at-once",
        Side.SERVER,
        "{address} closes the connection as soon as TLS begins, and says nothing",
        why=(
            "A TLS server that refuses sends an alert. Closing without one is a program that does not speak TLS, a proxy or load balancer"
            " with nothing behind it, a limit on connections, or a server that has no certificate for this name.",
        ),
        remedies=(
            ("shell", "journalctl -e -u {unit}", "the server's own log says why; on a load balancer, whether its backend is up"),
            ("shell", "ss -ltnp 'sport = :{port}'", "on the server: which program listens there"),
        ),
        said=(
            ("Go", "EOF"),
            ("Go", "read tcp {local}->{address}: read: connection reset by peer"),
            ("OpenSSL", "error:0A000126:SSL routines:ssl3_read_n:unexpected eof while reading"),
            ("OpenSSL", "write:errno=104"),
            ("Java", "javax.net.ssl.SSLHandshakeException: Remote host terminated the handshake"),
            ("Node", "Client network socket disconnected before secure TLS connection was established"),
            ("Node", "read ECONNRESET"),
            ("Python", "[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred in violation of protocol"),
            ("Python", "[Errno 104] Connection reset by peer"),
        ),
    ),
    error(
        "http-proxy",
        Side.CLIENT,
        "{address} is an HTTP proxy, not the server",
        why=("It answers a plain request as proxies do. An edge dials its cloud directly: it ignores proxy settings of the environment.",),
        remedies=(("shell", "openssl s_client -proxy {address} -connect HOST:PORT", "a TLS connection through it, to the real server"),),
    ),
    error(
        "hub-is-not-enrolment",
        Side.CLIENT,
        "{address} is a hub (WebSocket over mutual TLS), not the enrolment server",
        why=("Enrolment with a token is HTTPS on port 10002 (NodePort 30002); the hub on 10000 wants a certificate that a join brings.",),
        remedies=(
            ("edgeward", "edgeward join https://{host}:10002 --token @token --node NAME", "the enrolment port"),
            ("kubeedge", "keadm join --cloudcore-ipport={host}:10000 --certport=10002 --token=TOKEN", "hub and enrolment port"),
        ),
    ),
    error(
        "enrolment-is-not-hub",
        Side.CLIENT,
        "{address} is an enrolment server (HTTPS), not the hub",
        why=("An agent holds its connection with the hub: WebSocket over mutual TLS, port 10000 (NodePort 30000).",),
        remedies=(
            ("edgeward", "edgeward agent --hub {host}:10000", "the hub's port"),
            ("kubeedge", "sed -i 's/server: .*:10002$/server: {host}:10000/' /etc/kubeedge/config/edgecore.yaml", "edgeHub.websocket.server"),
        ),
        said=(("Go", "websocket: bad handshake"),),
    ),
    note(
        "redirects",
        Side.SERVER,
        "the server sends clients elsewhere ({status}); that was not followed",
        why=("It names {location}.",),
    ),
    warning(
        "rate-limited",
        Side.SERVER,
        "the server answers that there is too much at once ({status})",
        why=("Requests are limited for each address, and many nodes behind one NAT share one.",),
        remedies=(
            ("edgeward", "edgeward doctor", "on the server; limits.requests_per_second in edgeward.toml is what may be raised"),
        ),
    ),
)  # fmt: skip
