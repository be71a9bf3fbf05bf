"""The catalogue of names: the server is not called what the client dialled."""

from edgeward.model.finding import Side
from edgeward.services.doctor.catalogue import error, note, warning

_ADD = (
    (
        "edgeward",
        "edgeward advertise add {name}",
        "on the server: issues its certificate again with the name; connections stay up",
    ),
    (
        "offline CA",
        "edgeward cert sign {server_csr} --ca-dir {ca_directory} --profile server --san {wanted_san} --chain --out {server_cert} --force",
        "where a CA of `edgeward ca new` signed it; then restart the server",
    ),
    (
        "kubeedge",
        "kubectl -n kubeedge edit configmap cloudcore && kubectl -n kubeedge delete secret cloudcoresecret"
        " && kubectl -n kubeedge rollout restart deployment cloudcore",
        "add {name} to modules.cloudHub.{kubeedge_list}; casecret stays, so no node has to join again",
    ),
    (
        "openssl",
        "openssl req -new -key {server_key} -subj /CN=server | openssl x509 -req -CA {issuer_cert} -CAkey {issuer_key} -CAcreateserial"
        " -days 365 -extfile <(echo 'subjectAltName={wanted_san}') -out {server_cert}",
        "on the server, then restart it; every name that clients dial, not the new one alone",
    ),
    (
        "cert-manager",
        "kubectl patch certificate {certificate_object} --type=json -p"
        """ '[{{"op":"add","path":"/spec/{cert_manager_list}/-","value":"{name}"}}]'""",
        "cert-manager issues the Secret again",
    ),
)

_MISMATCH_DNS = (
    ("Go", "tls: failed to verify certificate: x509: certificate is valid for {valid}, not {name}"),
    ("Go", "x509: certificate is valid for {valid}, not {name}"),
    ("Go", "x509: certificate is valid for {valid}, not for {name}"),
    ("OpenSSL", "verify error:num=62:hostname mismatch"),
    ("Java", "javax.net.ssl.SSLHandshakeException: No subject alternative DNS name matching {name} found."),
    (
        "Node",
        "Hostname/IP does not match certificate's altnames: Host: {name}. is not in the cert's altnames: {altnames}",
    ),
    (
        "Python",
        "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: Hostname mismatch, certificate is not valid for '{name}'.",
    ),
    ("curl", "SSL: no alternative certificate subject name matches target host name '{name}'"),
)

ENTRIES = (
    error(
        "name-mismatch",
        Side.SERVER,
        "the server's certificate is not for {name}: it is valid for {valid}",
        why=("Clients compare the name that they dial with the subject alternative names; the common name does not count.",),
        remedies=_ADD,
        said=_MISMATCH_DNS,
    ),
    error(
        "address-mismatch",
        Side.SERVER,
        "the server's certificate is not for the address {name}: it is valid for {valid}",
        why=("An address counts only as an IP entry of the subject alternative names. The server probably moved, or stands behind a NAT.",),
        remedies=_ADD,
        said=(
            ("Go", "tls: failed to verify certificate: x509: certificate is valid for {valid_addresses}, not {name}"),
            ("Go", "x509: certificate is valid for {valid_addresses}, not {name}"),
            ("OpenSSL", "verify error:num=64:IP address mismatch"),
            ("Java", "javax.net.ssl.SSLHandshakeException: No subject alternative names matching IP address {name} found"),
            (
                "Node",
                "Hostname/IP does not match certificate's altnames: IP: {name} is not in the cert's list: {valid_addresses}",
            ),
            (
                "Python",
                "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: IP address mismatch, certificate is not valid for '{name}'.",
            ),
        ),
    ),
    error(
        "no-ip-sans",
        Side.SERVER,
        "the server was dialled by its address {name}, and its certificate has no address at all: it is valid for {valid}",
        why=("An address counts only as an IP entry of the subject alternative names.",),
        remedies=_ADD,
        said=(
            (
                "Go",
                "tls: failed to verify certificate: x509: cannot validate certificate for {name} because it doesn't contain any IP SANs",
            ),
            ("Go", "x509: cannot validate certificate for {name} because it doesn't contain any IP SANs"),
            ("OpenSSL", "verify error:num=64:IP address mismatch"),
            ("Java", "javax.net.ssl.SSLHandshakeException: No subject alternative names matching IP address {name} found"),
            ("Node", "Hostname/IP does not match certificate's altnames: IP: {name} is not in the cert's list: "),
            (
                "Python",
                "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: IP address mismatch, certificate is not valid for '{name}'.",
            ),
        ),
    ),
    error(
        "ip-in-dns-san",
        Side.SERVER,
        "the server's certificate has the address {name} as a DNS name, where no client looks for an address",
        why=("It must be an IP entry of the subject alternative names: `IP:{name}`, not `DNS:{name}`.",),
        remedies=_ADD,
        said=(
            (
                "Go",
                "tls: failed to verify certificate: x509: cannot validate certificate for {name} because it doesn't contain any IP SANs",
            ),
            ("OpenSSL", "verify error:num=64:IP address mismatch"),
            ("Java", "javax.net.ssl.SSLHandshakeException: No subject alternative names matching IP address {name} found"),
            ("Node", "Hostname/IP does not match certificate's altnames: IP: {name} is not in the cert's list: {valid_addresses}"),
            (
                "Python",
                "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: IP address mismatch, certificate is not valid for '{name}'.",
            ),
        ),
    ),
    error(
        "common-name-only",
        Side.SERVER,
        "the server's certificate names {name} in its common name alone, which clients ignore",
        why=(
            "Go since 1.15, browsers and every KubeEdge edge look at the subject alternative names only; OpenSSL and Java still fall back"
            " to the common name for a DNS name, never for an address.",
        ),
        remedies=_ADD,
        said=(
            ("Go", "tls: failed to verify certificate: x509: certificate relies on legacy Common Name field, use SANs instead"),
            ("Go", "x509: certificate relies on legacy Common Name field, use SANs instead"),
            ("Go", "x509: certificate relies on legacy Common Name field, use SANs or temporarily enable Common Name matching"),
            ("Chrome", "NET::ERR_CERT_COMMON_NAME_INVALID"),
        ),
    ),
    error(
        "no-names",
        Side.SERVER,
        "the server's certificate has no names at all, so it is not for {name}",
        why=("Clients compare the name that they dial with the subject alternative names, and there are none.",),
        remedies=_ADD,
        said=(
            ("Go", "tls: failed to verify certificate: x509: certificate is not valid for any names, but wanted to match {name}"),
            ("Go", "x509: certificate is not valid for any names, but wanted to match {name}"),
            ("OpenSSL", "verify error:num=62:hostname mismatch"),
            ("Java", "javax.net.ssl.SSLHandshakeException: No name matching {name} found"),
            ("Java", "javax.net.ssl.SSLHandshakeException: No subject alternative names present"),
            ("Node", "Hostname/IP does not match certificate's altnames: Cert does not contain a DNS name"),
            (
                "Python",
                "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: Hostname mismatch, certificate is not valid for '{name}'.",
            ),
        ),
    ),
    warning(
        "name-for-some",
        Side.SERVER,
        "some clients take the certificate for {name}, and {refusing} refuse it",
        why=("{detail}",),
        remedies=_ADD,
    ),
    error(
        "sni-needed",
        Side.CLIENT,
        "the server shows another certificate to a client that does not say which name it calls (SNI), and that one is not for {name}",
        why=(
            "With the name in the hello it sends the right one. Clients say no name when they dial an address, and some old ones never.",
        ),
        remedies=(("openssl", "openssl s_client -connect {address} -servername {name}", "a client that says the name"),),
    ),
    note(
        "sni-matters",
        Side.SERVER,
        "the certificate depends on the name in the hello (SNI): without one, the server shows {other}",
    ),
    note(
        "odd-name",
        Side.SERVER,
        "the certificate has a name that matches nothing: {odd}",
        why=("{detail}",),
    ),
)  # fmt: skip
