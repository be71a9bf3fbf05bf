"""The catalogue of what lies on a disk: how files are written, who may read them, and how they belong together."""

from edgeward.model.finding import Side
from edgeward.services.doctor.catalogue import error, note, warning

_REWRITE = (
    (
        "edgeward",
        "edgeward convert {file} {file} --to pem --no-password --force",
        "writes what is in it again, as plain PEM",
    ),
)
_AGAIN = (
    ("edgeward", "edgeward token new --node {node} > token", "on the server; then the join that follows, here"),
    ("edgeward", "edgeward join --token @token --node {node} --dir {directory}", "brings a pair that belongs together"),
    (
        "kubeedge",
        "rm -f /etc/kubeedge/certs/server.crt /etc/kubeedge/certs/server.key /etc/kubeedge/ca/rootCA.crt && systemctl restart edgecore",
        "with a token (`keadm gettoken`) in modules.edgeHub.token: edgecore enrols again",
    ),
)

ENTRIES = (
    error(
        "file-empty",
        Side.CLIENT,
        "{file} is empty",
        why=("A write that was cut off by a full disk or a loss of power leaves such a file; an old cloudcore that could not sign, too.",),
        remedies=_AGAIN,
        said=(("Go", "tls: failed to find any PEM data in certificate input"), ("OpenSSL", "error:0480006C:PEM routines::no start line")),
    ),
    error(
        "file-unreadable",
        Side.CLIENT,
        "{file} cannot be read: {detail}",
        remedies=(("edgeward", "edgeward inspect {file}", "what is in it, and where it breaks"),),
    ),
    error(
        "file-bom",
        Side.CLIENT,
        "{file} begins with a byte order mark, so Go, OpenSSL and edgecore do not find its first block",
        why=("An editor on Windows put it there.",),
        remedies=(*_REWRITE, ("shell", "sed -i '1s/^\\xEF\\xBB\\xBF//' {file}", "takes the mark off")),
        said=(("Go", "tls: failed to find any PEM data in certificate input"), ("OpenSSL", "error:0480006C:PEM routines::no start line")),
    ),
    error(
        "file-utf16",
        Side.CLIENT,
        "{file} is UTF-16 text, which no TLS program reads",
        why=("PowerShell writes it with `>`.",),
        remedies=(*_REWRITE, ("shell", "iconv -f UTF-16 -t UTF-8 {file} -o fixed.pem", "the same text as everybody reads it")),
    ),
    note(
        "file-crlf",
        Side.CLIENT,
        "{file} has Windows line ends (CRLF); Go and OpenSSL read them, some embedded programs do not",
        remedies=(*_REWRITE, ("shell", "sed -i 's/\\r$//' {file}", "takes them off")),
    ),
    warning(
        "file-der",
        Side.CLIENT,
        "{file} is DER, and its name promises PEM",
        why=("nginx, Go's LoadX509KeyPair, edgecore and cloudcore read PEM only.",),
        remedies=(*_REWRITE, ("openssl", "openssl x509 -inform DER -in {file} -out {file}.pem", "a certificate; a key with pkey")),
        said=(("Go", "tls: failed to find any PEM data in certificate input"), ("OpenSSL", "error:0480006C:PEM routines::no start line")),
    ),
    warning(
        "file-pem",
        Side.CLIENT,
        "{file} is PEM text, and its name promises DER",
        remedies=(
            ("edgeward", "edgeward convert {file} {file} --to der --no-password --force", "writes it again as DER"),
            ("openssl", "openssl x509 -in {file} -outform DER -out {file}", "a certificate; a key with pkey"),
        ),
    ),
    error(
        "file-label",
        Side.CLIENT,
        "{file}: a PEM block says {label}, and in it is {actual_kind}",
        why=("Go reads some of these, OpenSSL none: it trusts the label.",),
        remedies=_REWRITE,
        said=(("OpenSSL", "error:1E08010C:DECODER routines::unsupported"), ("Go", "tls: failed to parse private key")),
    ),
    warning(
        "file-trailing",
        Side.CLIENT,
        "{file} has something that does not belong in it: {detail}",
        remedies=_REWRITE,
        said=(("Go", "x509: trailing data"),),
    ),
    error(
        "file-block",
        Side.CLIENT,
        "{file}: {detail}",
        why=("Such a file was cut off, or broken when it was copied.",),
        remedies=(("edgeward", "edgeward inspect {file}", "which block, and where it breaks"),),
    ),
    error(
        "key-mode",
        Side.CLIENT,
        "others may {verb} the private key {file} (mode {mode})",
        remedies=(("shell", "chmod 600 {file}", "yours alone"),),
    ),
    warning(
        "directory-mode",
        Side.CLIENT,
        "others may write into {directory} (mode {mode}), and so put another key or certificate there",
        remedies=(("shell", "chmod go-w {directory}", "yours alone to write"),),
    ),
    warning(
        "key-owner",
        Side.CLIENT,
        "the private key {file} belongs to user {owner}, not to you or to root",
        remedies=(("shell", "sudo chown root: {file}", "or to the user that its program runs as"),),
    ),
    warning(
        "key-without-certificate",
        Side.CLIENT,
        "no certificate here belongs to the private key {file}",
        remedies=(("edgeward", "edgeward csr new request.csr --key {file} --subject CN=NAME", "a request for one"),),
    ),
    note(
        "issuer-not-here",
        Side.CLIENT,
        "the issuer of {subject} is not among these files: {issuer}",
        remedies=(("edgeward", "edgeward verify {file} --ca {ca}", "with the CA's file beside it"),),
    ),
    error(
        "not-signed-by-ca",
        Side.CLIENT,
        "the certificate {file} is not signed by the CA in {ca_file}",
        why=("{detail}",),
        remedies=_AGAIN,
        said=(("Go", "x509: certificate signed by unknown authority"), ("OpenSSL", "verify error:num=20:unable to get local issuer certificate")),
    ),
    error(
        "mixed-pair",
        Side.CLIENT,
        "{cert} and {key} do not belong together",
        why=(
            "KubeEdge writes the certificate first and the key second, in place: a crash between the two leaves the new certificate with the"
            " old key. edgecore then throws both away and enrols anew, for which it needs a token.",
        ),
        remedies=(("edgeward", "edgeward key match {key} {cert}", "which belongs to which"), *_AGAIN),
        said=(("Go", "tls: private key does not match public key"),),
    ),
    error(
        "edge-other-name",
        Side.CLIENT,
        "the certificate is for node {proven}, and the configuration says {node}",
        why=("edgecore since 1.21 throws such a certificate away; a hub refuses it.",),
        remedies=(
            ("shell", "sed -i 's/hostnameOverride: .*/hostnameOverride: {proven}/' {config}", "the name that the certificate has"),
            *_AGAIN,
        ),
    ),
    warning(
        "edge-old-identity",
        Side.CLIENT,
        "the certificate is of the kind that KubeEdge gave every node before 1.16 (CN=kubeedge.io): it says nothing of which node it is",
        why=("It cannot be renewed with a cloud of 1.16 or later, and an Edgeward refuses it unless told otherwise.",),
        remedies=_AGAIN,
    ),
    error(
        "edge-incomplete",
        Side.CLIENT,
        "{directory} lacks {detail}",
        why=("A node has a CA, a certificate and a key; it enrols, with a token, when one is missing.",),
        remedies=_AGAIN,
    ),
    note(
        "edge-token-left",
        Side.CLIENT,
        "a join token stands in {config}, and the node has its certificate: nobody needs it any more",
        remedies=(("shell", "sed -i 's/^\\( *token:\\).*/\\1 \"\"/' {config}", "empties it, as edgecore does after an enrolment"),),
    ),
    error(
        "secret-field",
        Side.SERVER,
        "the Secret {name} has no usable {label}: {detail}",
        remedies=(("kubeedge", "kubectl -n kubeedge get secret {name} -o yaml | edgeward inspect -", "what is in it"),),
    ),
    error(
        "secret-key-form",
        Side.SERVER,
        "cloudcore cannot sign with the key in casecret: it is {detail}, and must be an EC key in SEC 1 form",
        remedies=(
            ("edgeward", "edgeward kubeedge import SECRETS.yaml", "an Edgeward takes RSA and PKCS#8 keys"),
            ("openssl", "openssl ec -inform DER -outform DER -in ca.key -out ca.sec1.key", "an EC key in PKCS#8 form as SEC 1; then into the Secret again"),
        ),
        said=(("KubeEdge", "unable to ParseECPrivateKey: x509: failed to parse private key (use ParsePKCS8PrivateKey instead for this key format)"),),
    ),
    error(
        "secret-other-ca",
        Side.SERVER,
        "cloudcoresecret's certificate is not signed by the CA in casecret",
        why=("Two replicas that started at once on an empty cluster made a CA each, or one Secret was restored without the other.",),
        remedies=(
            (
                "kubeedge",
                "kubectl -n kubeedge delete secret cloudcoresecret && kubectl -n kubeedge rollout restart deployment cloudcore",
                "a new one, signed by casecret's CA, which stays",
            ),
        ),
    ),
    error(
        "data-incomplete",
        Side.SERVER,
        "the data directory {directory} lacks {detail}",
        remedies=(("shell", "ls -la {directory}", "restore it from a backup: the database and the keys belong together"),),
    ),
    error(
        "data-passphrase",
        Side.SERVER,
        "the passphrase of the key store is not where it should be: {detail}",
        why=("Without it the CA's key opens for nobody. The generated one lies outside the data directory, and no backup of that has it.",),
        remedies=(
            ("edgeward", "edgeward up --data {directory} --passphrase-file FILE", "with the passphrase from where you keep it"),
        ),
    ),
    error(
        "data-damaged",
        Side.SERVER,
        "the database is damaged: {detail}",
        remedies=(("shell", "sqlite3 {file} .recover | sqlite3 recovered.db", "what can be saved; better, restore a backup"),),
    ),
    error(
        "data-audit",
        Side.SERVER,
        "the audit chain is broken at record {detail}: a record was changed, removed or put in",
        remedies=(("edgeward", "edgeward audit list --data {directory}", "on the running server; the records around it"),),
    ),
    warning(
        "data-planned",
        Side.SERVER,
        "{count} certificates were planned and never issued: a crash left them",
        remedies=(("edgeward", "edgeward up --data {directory}", "at start they are abandoned, and their tokens' uses given back"),),
    ),
    note(
        "data-running",
        Side.SERVER,
        "an Edgeward is running on {directory} (process {detail}); it knows more than its files",
        remedies=(("edgeward", "edgeward doctor --data {directory}", "asks it"),),
    ),
    note(
        "nothing-to-judge",
        Side.CLIENT,
        "{file}: {detail}",
    ),
)  # fmt: skip
