"""The catalogue of enrolment: join tokens, and what a server answers to a node."""

from edgeward.model.finding import Side
from edgeward.services.doctor.catalogue import error, note, warning

_NEW = (
    (
        "edgeward",
        "edgeward token new --node {node} > token",
        "on the server: a new token, one line with exactly three dots",
    ),
    ("kubeedge", "keadm gettoken > token", "on the cloud: the token of now; it changes every 12 hours"),
)

ENTRIES = (
    error(
        "token-form",
        Side.CLIENT,
        "that is not a whole join token: {detail}",
        why=(
            "A token is one line of four parts with three dots between; most of these were cut or broken when they were copied.",
        ),
        remedies=_NEW,
        said=(
            ("Go", "token {token_shown} credentials are in the wrong format"),
            ("KubeEdge", "token credentials are in the wrong format"),
            (
                "KubeEdge",
                "token validation failure, err: token is malformed: token contains an invalid number of segments",
            ),
            ("KubeEdge", "token validation failure, token cannot be split"),
            ("KubeEdge", "Invalid authorization token"),
        ),
    ),
    error(
        "token-other-ca",
        Side.CLIENT,
        "the token was made for another CA: it pins {pin}, and the server's CA is {actual}",
        why=(
            "The first part of a token is the SHA-256 of the CA's certificate. Either the token is of another installation, or the CA was"
            " made anew since, or somebody stands between. Nothing of the token was sent.",
        ),
        remedies=(
            ("edgeward", "edgeward ca show", "on the server: is its pin the one that the server shows here?"),
            *_NEW,
        ),
        said=(
            ("Go", "failed to validate CA certificate. tokenCAhash: {pin}, CAhash: {actual}"),
            ("Edgeward", "the server's CA is {actual}, and the token pins {pin}"),
        ),
    ),
    error(
        "token-expired",
        Side.CLIENT,
        "the token expired at {expired_at}",
        remedies=_NEW,
        said=(
            ("Go", "token validation failure, err: token has invalid claims: token is expired"),
            ("KubeEdge", "token is expired"),
            ("Edgeward", "the token expired at {expired_at}"),
        ),
    ),
    error(
        "token-spent",
        Side.CLIENT,
        "the token has been used as often as it may",
        why=(
            "A token joins as many nodes as it has uses, one unless more were asked for. A use that was answered is not given back.",
        ),
        remedies=(
            *_NEW,
            ("edgeward", "edgeward token new --pattern '*' --uses 100 > token", "one token for many nodes"),
        ),
        said=(("Edgeward", "the token has been used {uses} of {uses} times"),),
    ),
    error(
        "token-revoked",
        Side.CLIENT,
        "the token was revoked by an operator",
        remedies=_NEW,
        said=(("Edgeward", "the token was revoked at {revoked_at}"),),
    ),
    error(
        "token-unknown",
        Side.CLIENT,
        "the server does not know the token: {detail}",
        why=(
            "The pin in its first part is right and the rest is not: cut at its end, of an earlier installation, or never made there.",
        ),
        remedies=_NEW,
        said=(
            ("Edgeward", "the token is not valid here"),
            ("KubeEdge", "token validation failure, err: token signature is invalid: signature is invalid"),
        ),
    ),
    error(
        "token-not-for-node",
        Side.CLIENT,
        "the token is for another node than {node}",
        remedies=_NEW,
        said=(("Edgeward", "the token is not for node {node}"),),
    ),
    error(
        "token-not-from-here",
        Side.CLIENT,
        "the token may not be used from this network",
        remedies=_NEW,
        said=(("Edgeward", "the token may not be used from {client_address}"),),
    ),
    warning(
        "token-elsewhere",
        Side.CLIENT,
        "the token says to dial {hinted}, and {dialled} was dialled",
        why=(
            "The addresses in a token are those that the operator advertises; another one may lead to another server.",
        ),
        remedies=(("edgeward", "edgeward doctor {hinted}", "what the token points to"),),
    ),
    error(
        "no-authority-answer",
        Side.SERVER,
        "{address} does not give out a CA certificate (/ca.crt): {detail}",
        why=("An enrolment server answers /ca.crt without a token; a node begins with it.",),
        remedies=(
            ("edgeward", "edgeward doctor {host}:10002", "enrolment is on port 10002"),
            ("kubeedge", "curl -vk https://{address}/ca.crt", "what answers instead"),
        ),
    ),
    error(
        "node-refused",
        Side.SERVER,
        "the server refuses this node: {detail}",
        remedies=(("edgeward", "edgeward nodes", "on the server: the state of every node"), *_NEW),
    ),
    error(
        "node-blocked",
        Side.SERVER,
        "the server has blocked this node: {detail}",
        remedies=(
            (
                "edgeward",
                "edgeward token new --node {node} --unblock > token",
                "on the server, if it may return; then join again",
            ),
        ),
        said=(("Edgeward", "node {node} is blocked: {detail}"),),
    ),
    error(
        "wrong-identity",
        Side.CLIENT,
        "the certificate is for node {proven}, and the node calls itself {node}",
        remedies=(
            (
                "edgeward",
                "edgeward doctor {address} --cert {cert} --key {key} --node {proven}",
                "under the name that it proves",
            ),
            *_NEW,
        ),
        said=(
            ("Edgeward", "the certificate is for node {proven}, not for {node}"),
            ("KubeEdge", "request node name is not match with the certificate"),
        ),
    ),
    note("token-hints", Side.CLIENT, "the token carries addresses to dial: {hinted}"),
)
