"""The catalogue of a running authority: what will fail soon, and what fails for nodes out there."""

from edgeward.model.finding import Side
from edgeward.services.doctor.catalogue import error, note, warning

ENTRIES = (
    warning(
        "ca-expires",
        Side.SERVER,
        "the CA {subject} ends on {not_after} (in {ago}), and every certificate of it with it",
        why=("No certificate outlives its CA: the nearer the end, the shorter the certificates that are issued.",),
        remedies=(
            ("edgeward", "edgeward ca import --cert new-ca.crt --key new-ca.key", "a new CA; make one with `edgeward ca new`"),
        ),
    ),
    error(
        "ca-expired",
        Side.SERVER,
        "the CA {subject} ended on {not_after}: no certificate of it is valid any more",
        remedies=(
            ("edgeward", "edgeward ca import --cert new-ca.crt --key new-ca.key", "a new CA; every node joins again"),
        ),
    ),
    error(
        "node-distrusts-ca",
        Side.CLIENT,
        "node {node} does not trust the CA {issuer}, which has signed the server's certificate",
        why=(
            "An agent hears of a new CA over its connection, while the old one still signs; one that was away then, and every KubeEdge"
            " edge, has to join again, which brings the CA as well.",
        ),
        remedies=(
            ("edgeward", "edgeward token new --node {node} > token", "on the server; then on the node the same join as before, with this token"),
            ("edgeward", "edgeward ca export > {ca}", "for a program that has a CA file and no agent: replace it by this one"),
            ("edgeward", "edgeward ca rotate --status", "which of the devices that are connected have heard of it"),
        ),
    ),
    warning(
        "node-certificates-expire",
        Side.CLIENT,
        "{count} nodes have certificates that end within {days} days: {nodes}",
        why=("A node renews its certificate at 70 to 90 % of its life, while it can reach this server. These have not.",),
        remedies=(
            ("edgeward", "edgeward why {node}", "what this server saw of the first of them"),
            ("kubeedge", "journalctl -u edgecore | edgeward doctor -", "on the node: why it does not renew"),
        ),
    ),
    error(
        "node-certificates-expired",
        Side.CLIENT,
        "{count} nodes have no valid certificate any more: {nodes}",
        why=("An expired certificate does not renew itself (unless enrolment.renewal_grace_hours allows it for a while).",),
        remedies=(
            ("edgeward", "edgeward token new --node {node} > token", "a token for each; the node joins again with it"),
            ("edgeward", "edgeward why {node}", "what this server saw of the first of them"),
        ),
    ),
    warning(
        "tokens-end-unused",
        Side.SERVER,
        "{count} join tokens end within {hours} hours and have uses left: {detail}",
        remedies=(("edgeward", "edgeward token list", "which; make new ones where nodes still wait for theirs"),),
    ),
    error(
        "clock-jumped",
        Side.SERVER,
        "this machine's clock has jumped by {skew} since the server started",
        why=("Certificates and tokens are judged by this clock; what was issued meanwhile has wrong dates.",),
        remedies=(
            ("shell", "timedatectl", "is the clock right now, and set by the network?"),
            ("shell", "sudo timedatectl set-ntp true", "sets it by the network"),
        ),
    ),
    error(
        "clock-before-record",
        Side.SERVER,
        "this machine's clock says {now}, and the newest record was written at {last}: the clock was set back",
        why=("New certificates would not be valid yet for those who have the right time.",),
        remedies=(("shell", "sudo timedatectl set-ntp true", "sets it by the network"),),
    ),
    warning(
        "node-clocks",
        Side.CLIENT,
        "{count} nodes have clocks that differ from this one by more than {seconds} s: {nodes}",
        why=("A clock that is behind refuses new certificates as not yet valid; one that is ahead takes good ones for expired.",),
        remedies=(
            ("shell", "sudo timedatectl set-ntp true", "on the node"),
            ("edgeward", "edgeward nodes --json", "on this machine: `clock_skew_ms` of each"),
        ),
    ),
    error(
        "disk-full",
        Side.SERVER,
        "the disk of {directory} has {free} left: soon nothing can be issued",
        remedies=(("shell", "df -h {directory}; du -xh {directory} | sort -h | tail", "what takes the space"),),
    ),
    warning(
        "disk-low",
        Side.SERVER,
        "the disk of {directory} has {free} left ({percent} %)",
        remedies=(("shell", "df -h {directory}; du -xh {directory} | sort -h | tail", "what takes the space"),),
    ),
    note(
        "failures-more",
        Side.CLIENT,
        "{count} more failures are not listed here",
        remedies=(("edgeward", "edgeward why ADDRESS", "for one address or one node"),),
    ),
    note(
        "audit-not-verified",
        Side.SERVER,
        "the audit chain has more than {count} records and was not verified here",
        remedies=(("edgeward", "edgeward audit verify", "verifies all of it"),),
    ),
)  # fmt: skip
