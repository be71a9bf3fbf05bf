"""The catalogue of chains: who signed the server's certificate, until when, with what, and for what."""

from edgeward.model.finding import Side
from edgeward.services.doctor.catalogue import error, note, warning

_UNKNOWN = (
    ("Go", "tls: failed to verify certificate: x509: certificate signed by unknown authority"),
    ("Go", "x509: certificate signed by unknown authority"),
    ("OpenSSL", "verify error:num=20:unable to get local issuer certificate"),
    ("OpenSSL", "verify error:num=21:unable to verify the first certificate"),
    (
        "Java",
        "javax.net.ssl.SSLHandshakeException: PKIX path building failed: sun.security.provider.certpath.SunCertPathBuilderException:"
        " unable to find valid certification path to requested target",
    ),
    ("Node", "unable to verify the first certificate"),
    ("Node", "unable to get local issuer certificate"),
    ("Python", "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local issuer certificate"),
    ("curl", "SSL certificate problem: unable to get local issuer certificate"),
)
_FETCH = (
    (
        "edgeward",
        "edgeward ca export > {ca}",
        "on the server: the CA that it issues with; compare its fingerprint, then give it to clients",
    ),
    (
        "kubeedge",
        "kubectl -n kubeedge get secret casecret -o jsonpath='{{.data.cadata}}' | base64 -d | openssl x509 -inform DER -out {ca}",
        "on an edge the file is /etc/kubeedge/ca/rootCA.crt",
    ),
    (
        "openssl",
        "openssl x509 -in ca.crt -noout -subject -fingerprint -sha256",
        "of the CA that signed the server's certificate",
    ),
    (
        "cert-manager",
        "kubectl get secret {certificate_object} -o jsonpath='{{.data.ca\\.crt}}' | base64 -d > {ca}",
        "the issuer's CA",
    ),
)
_REISSUE = (
    (
        "edgeward",
        "edgeward up",
        "an Edgeward issues its server certificate again by itself, at start and before it ends",
    ),
    (
        "kubeedge",
        "kubectl -n kubeedge delete secret cloudcoresecret && kubectl -n kubeedge rollout restart deployment cloudcore",
        "makes a new server certificate; casecret stays, so no node has to join again",
    ),
    (
        "openssl",
        "openssl req -new -key {server_key} -subj /CN=server | openssl x509 -req -CA {issuer_cert} -CAkey {issuer_key} -CAcreateserial"
        " -sha256 -days 365 -extfile <(printf 'subjectAltName={wanted_san}\\nextendedKeyUsage=serverAuth\\n') -out {server_cert}",
        "on the server, then restart it",
    ),
    ("cert-manager", "cmctl renew {certificate_object}", "issues it again now"),
)
_EXPIRED = (
    (
        "Go",
        "tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time {now} is after {not_after}",
    ),
    ("Go", "x509: certificate has expired or is not yet valid: current time {now} is after {not_after}"),
    ("Go", "x509: certificate has expired or is not yet valid"),
    ("OpenSSL", "verify error:num=10:certificate has expired"),
    (
        "Java",
        "javax.net.ssl.SSLHandshakeException: PKIX path validation failed: java.security.cert.CertPathValidatorException:"
        " validity check failed",
    ),
    ("Java", "java.security.cert.CertificateExpiredException: NotAfter: {java_not_after}"),
    ("Node", "certificate has expired"),
    ("Python", "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired"),
)
_EARLY = (
    (
        "Go",
        "tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time {now} is before {not_before}",
    ),
    ("Go", "x509: certificate has expired or is not yet valid: current time {now} is before {not_before}"),
    ("OpenSSL", "verify error:num=9:certificate is not yet valid"),
    (
        "Java",
        "javax.net.ssl.SSLHandshakeException: PKIX path validation failed: java.security.cert.CertPathValidatorException:"
        " validity check failed",
    ),
    ("Java", "java.security.cert.CertificateNotYetValidException: NotBefore: {java_not_before}"),
    ("Node", "certificate is not yet valid"),
    ("Python", "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate is not yet valid"),
)
_CLOCK = (
    ("shell", "sudo timedatectl set-ntp true", "on this machine: sets its clock by the network"),
    ("shell", "timedatectl", "what this machine believes"),
)

ENTRIES = (
    error(
        "unknown-authority",
        Side.CLIENT,
        "the server's certificate is signed by {issuer}, which is not among the CAs given ({anchors})",
        why=("Either the client has the wrong CA file, or the server's certificate is of another authority than it should be.",),
        remedies=_FETCH,
        said=_UNKNOWN,
    ),
    error(
        "same-name-other-ca",
        Side.CLIENT,
        "the server's certificate is signed by another CA of the same name, {issuer}: an older or newer one, or another installation's",
        why=(
            "The names agree and the keys do not: the certificate names the issuing key {issuer_key_id}, and the CA given has {own_key_id}.",
            "That happens when a CA is made anew (a cloud installed again, two replicas that started at once): nodes that have"
            " the old one no longer know the server.",
        ),
        remedies=_FETCH,
        said=(
            (
                "Go",
                "tls: failed to verify certificate: x509: certificate signed by unknown authority (possibly because of"
                ' "{go_reason}" while trying to verify candidate authority certificate "{anchor_name}")',
            ),
            (
                "Go",
                'x509: certificate signed by unknown authority (possibly because of "{go_reason}" while trying to verify'
                ' candidate authority certificate "{anchor_name}")',
            ),
            ("OpenSSL", "verify error:num=7:certificate signature failure"),
            ("OpenSSL", "verify error:num=20:unable to get local issuer certificate"),
            (
                "Java",
                "javax.net.ssl.SSLHandshakeException: PKIX path validation failed: java.security.cert.CertPathValidatorException:"
                " signature check failed",
            ),
            ("Node", "certificate signature failure"),
            ("Python", "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate signature failure"),
        ),
    ),
    error(
        "missing-intermediate",
        Side.SERVER,
        "the server does not send the intermediate CA {issuer}, so clients cannot reach the CA that they trust",
        why=("A server sends its own certificate and every intermediate above it; the root alone may be left out.",),
        remedies=(
            ("edgeward", "edgeward bundle {server_cert} intermediate.crt fullchain.pem", "the chain in order, for the server's configuration"),
            ("openssl", "cat {server_cert} intermediate.crt > fullchain.pem", "leaf first, then the intermediates; nginx: ssl_certificate"),
            ("kubeedge", "kubectl -n kubeedge get secret casecret", "a cloudcore sends its leaf alone: sign it with the CA that edges have"),
            ("cert-manager", "kubectl get secret {certificate_object} -o jsonpath='{{.data.tls\\.crt}}' | base64 -d", "serve all of tls.crt"),
        ),
        said=_UNKNOWN,
    ),
    error(
        "self-signed",
        Side.CLIENT,
        "the server's certificate is self-signed, and it is not itself among the CAs given",
        why=("Nobody vouches for it; a client must be given the certificate itself, or the server one of the CA that clients have.",),
        remedies=(
            ("edgeward", "edgeward cert sign server.csr --ca-dir {ca_dir} --profile server --out {server_cert}", "a certificate of a CA instead"),
            ("openssl", "openssl s_client -connect {address} </dev/null | openssl x509 -out {ca}", "takes it as it is: compare its fingerprint"),
            ("kubeedge", "kubectl -n kubeedge delete secret cloudcoresecret && kubectl -n kubeedge rollout restart deployment cloudcore", "a new one, signed by casecret"),
        ),
        said=(
            ("Go", "tls: failed to verify certificate: x509: certificate signed by unknown authority"),
            ("OpenSSL", "verify error:num=18:self-signed certificate"),
            ("OpenSSL", "verify error:num=18:self signed certificate"),
            ("OpenSSL", "verify error:num=19:self-signed certificate in certificate chain"),
            (
                "Java",
                "javax.net.ssl.SSLHandshakeException: PKIX path building failed:"
                " sun.security.provider.certpath.SunCertPathBuilderException: unable to find valid certification path to requested target",
            ),
            ("Node", "self-signed certificate"),
            ("Node", "self-signed certificate in certificate chain"),
            ("Python", "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate"),
            ("Python", "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate in certificate chain"),
        ),
    ),
    error(
        "tls-intercepted",
        Side.NETWORK,
        "something between ends TLS: the CA behind {address} is the expected one, and the certificate shown is signed by {issuer}",
        why=(
            "What the server says of itself (/ca.crt) matches, and the connection is not the server's own: a proxy, a load balancer or an"
            " inspecting firewall decrypts it. Client certificates cannot pass through such a thing.",
        ),
        remedies=(
            ("nginx", "nginx -T | grep -n proxy_pass", "pass TCP through instead: a `stream` server with `proxy_pass {host}:{port}`, no ssl"),
            ("kubeedge", "kubectl -n kubeedge get ingress,svc", "expose cloudcore by a TCP load balancer or a NodePort, not by an Ingress"),
            ("edgeward", "edgeward doctor {address}", "from a place on the other side of the proxy"),
        ),
        said=_UNKNOWN,
    ),
    error("expired", Side.SERVER, "the certificate of {subject} expired on {not_after} ({ago} ago)", remedies=_REISSUE, said=_EXPIRED),
    error(
        "not-yet-valid",
        Side.SERVER,
        "the certificate of {subject} is valid only from {not_before} (in {ago})",
        why=("The clock of the machine that issued it was ahead, or it was issued for later.",),
        remedies=_REISSUE,
        said=_EARLY,
    ),
    error(
        "clock-behind",
        Side.CLIENT,
        "the clock of this machine is behind by {skew}: it says {now}, the server {server_time}",
        why=("By the server's clock the certificate is valid; by this machine's it is not valid yet.",),
        remedies=_CLOCK,
        said=_EARLY,
    ),
    error(
        "clock-ahead",
        Side.CLIENT,
        "the clock of this machine is ahead by {skew}: it says {now}, the server {server_time}",
        why=("By the server's clock the certificate is valid; by this machine's it has expired.",),
        remedies=_CLOCK,
        said=_EXPIRED,
    ),
    warning(
        "clocks-differ",
        Side.SERVER,
        "the server's clock says {server_time}, this machine's {now}: they differ by {skew}",
        why=("Whichever is wrong will refuse certificates and tokens that are good. Ours look valid by both, for now.",),
        remedies=(("shell", "sudo timedatectl set-ntp true", "on the machine whose clock is wrong"), _CLOCK[1]),
    ),
    warning("expires-soon", Side.SERVER, "the certificate of {subject} expires on {not_after} (in {ago})", remedies=_REISSUE),
    error(
        "eku-server",
        Side.SERVER,
        "the server's certificate is not for servers: its extended key usage has {usages}, not serverAuth",
        remedies=_REISSUE,
        said=(
            ("Go", "tls: failed to verify certificate: x509: certificate specifies an incompatible key usage"),
            ("Go", "x509: certificate specifies an incompatible key usage"),
            ("OpenSSL", "verify error:num=26:unsuitable certificate purpose"),
            ("OpenSSL", "verify error:num=26:unsupported certificate purpose"),
            ("Java", "javax.net.ssl.SSLHandshakeException: Extended key usage does not permit use for TLS server authentication"),
            ("Node", "unsuitable certificate purpose"),
            ("Node", "unsupported certificate purpose"),
            ("Python", "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unsuitable certificate purpose"),
            ("Python", "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unsupported certificate purpose"),
        ),
    ),
    error(
        "key-usage",
        Side.SERVER,
        "the key usage of {subject} does not allow what it is used for: {detail}",
        remedies=_REISSUE,
        said=(
            ("Go", "x509: certificate specifies an incompatible key usage"),
            ("OpenSSL", "verify error:num=32:key usage does not include certificate signing"),
            ("Java", "javax.net.ssl.SSLHandshakeException: KeyUsage does not allow digital signatures"),
        ),
    ),
    error(
        "issuer-is-no-ca",
        Side.SERVER,
        "{subject} signed a certificate and is no CA: {detail}",
        why=("A certificate may sign others only if its basic constraints say CA:TRUE.",),
        remedies=(
            ("edgeward", "edgeward ca new --ca-dir DIR --name NAME", "makes a CA that is one"),
            ("openssl", "openssl req -x509 -new -key {issuer_key} -subj /CN=CA -days 3650 -addext basicConstraints=critical,CA:TRUE -out {ca}", "the CA again, as one"),
        ),
        said=(
            ("Go", "tls: failed to verify certificate: x509: certificate signed by unknown authority (possibly because of"
                ' "x509: invalid signature: parent certificate cannot sign this kind of certificate" while trying to verify'
                ' candidate authority certificate "{anchor_name}")'),
            ("Go", "x509: certificate is not authorized to sign other certificates"),
            ("OpenSSL", "verify error:num=79:invalid CA certificate"),
            ("OpenSSL", "verify error:num=24:invalid CA certificate"),
            ("Java", "java.security.cert.CertPathValidatorException: basic constraints check failed: this is not a CA certificate"),
            ("Node", "invalid CA certificate"),
            ("Python", "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: invalid CA certificate"),
        ),
    ),
    error(
        "chain-rule",
        Side.SERVER,
        "the chain breaks a rule: {detail}",
        remedies=_REISSUE,
        said=(
            ("Go", "x509: too many intermediates for path length constraint"),
            ("Go", "x509: a root or intermediate certificate is not authorized to sign for this name: {go_detail}"),
            ("OpenSSL", "verify error:num=25:path length constraint exceeded"),
            ("OpenSSL", "verify error:num=47:permitted subtree violation"),
            ("OpenSSL", "verify error:num=48:excluded subtree violation"),
        ),
    ),
    error(
        "critical-extension",
        Side.SERVER,
        "the certificate of {subject} has a critical extension that clients do not know ({oid}), so they refuse it",
        remedies=_REISSUE,
        said=(
            ("Go", "tls: failed to verify certificate: x509: unhandled critical extension"),
            ("Go", "x509: unhandled critical extension"),
            ("OpenSSL", "verify error:num=34:unhandled critical extension"),
            ("Java", "java.security.cert.CertPathValidatorException: unrecognized critical extension(s)"),
            ("Node", "unhandled critical extension"),
            ("Python", "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unhandled critical extension"),
        ),
    ),
    error(
        "weak-key",
        Side.SERVER,
        "the key of {subject} is too weak: {key_kind}",
        why=("OpenSSL's default level refuses RSA below 2048 bits (112 bits of security); Go refuses RSA below 1024.",),
        remedies=(
            ("edgeward", "edgeward key new {server_key} --type ec:P-256 --no-password", "a new key; then sign a new certificate for it"),
            ("openssl", "openssl ecparam -name prime256v1 -genkey -noout -out {server_key}", "a new key; then sign a new certificate for it"),
            ("kubeedge", "kubectl -n kubeedge delete secret cloudcoresecret && kubectl -n kubeedge rollout restart deployment cloudcore", "a new pair"),
        ),
        said=(
            ("Go", "crypto/rsa: {bits}-bit keys are insecure (see https://go.dev/pkg/crypto/rsa#hdr-Minimum_key_size)"),
            ("OpenSSL", "verify error:num=66:EE certificate key too weak"),
            ("OpenSSL", "error:0A00018F:SSL routines::ee key too small"),
            ("OpenSSL", "verify error:num=67:CA certificate key too weak"),
            ("Java", "java.security.cert.CertPathValidatorException: Algorithm constraints check failed on keysize limits"),
            ("Node", "EE certificate key too weak"),
            ("Python", "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: EE certificate key too weak"),
        ),
    ),
    error(
        "weak-signature",
        Side.SERVER,
        "the certificate of {subject} is signed with {algorithm}, which clients no longer accept",
        remedies=_REISSUE,
        said=(
            ("Go", "tls: failed to verify certificate: x509: certificate signed by unknown authority (possibly because of"
                ' "x509: cannot verify signature: insecure algorithm {go_algorithm}" while trying to verify candidate authority certificate'
                ' "{anchor_name}")'),
            ("Go", "x509: cannot verify signature: insecure algorithm {go_algorithm}"),
            ("OpenSSL", "verify error:num=68:CA signature digest algorithm too weak"),
            ("OpenSSL", "error:0A00018E:SSL routines::ca md too weak"),
            ("Java", "java.security.cert.CertPathValidatorException: Algorithm constraints check failed on signature algorithm: {java_algorithm}"),
            ("Node", "CA signature digest algorithm too weak"),
            ("Python", "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: CA signature digest algorithm too weak"),
        ),
    ),
    error(
        "server-revoked",
        Side.SERVER,
        "the certificate of {subject} is revoked since {since}",
        remedies=_REISSUE,
        said=(
            ("OpenSSL", "verify error:num=23:certificate revoked"),
            ("Java", "java.security.cert.CertificateRevokedException: Certificate has been revoked"),
            ("Node", "certificate revoked"),
            ("Python", "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate revoked"),
        ),
    ),
    warning(
        "chain-order",
        Side.SERVER,
        "the server sends its chain in the wrong order",
        why=("{detail}", "Go and OpenSSL put it in order; strict clients (old Java, GnuTLS, many embedded ones, TLS 1.2 by the letter) do not."),
        remedies=(
            ("edgeward", "edgeward bundle {server_cert} fullchain.pem --no-root", "the same certificates in order"),
            ("openssl", "cat leaf.pem intermediate.pem > fullchain.pem", "leaf first, then each one's issuer"),
        ),
        said=(("GnuTLS", "The certificate chain is not in the correct order"),),
    ),
    error(
        "wrong-leaf-first",
        Side.SERVER,
        "the server sends its chain upside down: the first certificate, which clients take for the server's own, is {first}",
        why=("The certificate for its key comes first; then each one's issuer.",),
        remedies=(
            ("edgeward", "edgeward bundle {server_cert} fullchain.pem --no-root", "the same certificates in order"),
            ("openssl", "cat leaf.pem intermediate.pem > fullchain.pem", "leaf first, then each one's issuer"),
        ),
    ),
    note("strangers-in-chain", Side.SERVER, "the server sends {count} certificates that do not belong to its chain", why=("{detail}",)),
    note("root-sent", Side.SERVER, "the server sends its root as well, which clients have already"),
    error(
        "unreadable-certificate",
        Side.SERVER,
        "the certificate that the server sends cannot be read: {detail}",
        remedies=_REISSUE,
        said=(
            ("Go", "tls: failed to parse certificate from server: x509: {go_detail}"),
            ("Java", "java.security.cert.CertificateParsingException"),
        ),
    ),
    note(
        "long-lived",
        Side.SERVER,
        "the certificate is valid for {days} days; browsers refuse more than 398 from public CAs",
        why=("A private CA that is installed by hand is not held to it, but Apple's systems refuse more than 825 days from any.",),
    ),
    note(
        "no-trust-given",
        Side.CLIENT,
        "no CA was given, so the chain was judged by this machine's own trust store ({store})",
        why=("Say --ca FILE to judge by the CA that your clients have.",),
    ),
)  # fmt: skip
