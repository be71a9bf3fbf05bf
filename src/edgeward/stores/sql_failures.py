"""The statements about failures, in the SQL that SQLite and PostgreSQL share; `:name` marks a parameter."""

COLUMNS = (
    "listener, address, node, dialled, code, alert, received, reason, learnt, subject, issuer, fingerprint, not_after,"
    " first_at, last_at, count"
)

MOST = 5000
"""Records in all."""

MOST_OF_NETWORK = 100
"""Records of one address, or of one /64 of IPv6: somebody who varies what he does pushes out his own records, not those of others."""

ADD = f"""
INSERT INTO failure ({COLUMNS}, network)
VALUES (:listener, :address, :node, :dialled, :code, :alert, :received, :reason, :learnt, :subject, :issuer, :fingerprint, :not_after,
        :first_at, :last_at, :count, :network)
    ON CONFLICT (address, listener, node, dialled, code, alert, received) DO UPDATE SET
       reason = excluded.reason, learnt = excluded.learnt,
       subject = COALESCE(excluded.subject, failure.subject), issuer = COALESCE(excluded.issuer, failure.issuer),
       fingerprint = COALESCE(excluded.fingerprint, failure.fingerprint),
       not_after = COALESCE(excluded.not_after, failure.not_after),
       last_at = excluded.last_at, count = failure.count + excluded.count"""

FORGET_OF_NETWORK = f"""
DELETE FROM failure
 WHERE network = :network
   AND last_at < (SELECT last_at FROM failure WHERE network = :network ORDER BY last_at DESC LIMIT 1 OFFSET {MOST_OF_NETWORK - 1})"""
# those of one moment count as one: a few more than the limit may stay until the next write
FORGET_OLD = f"""
DELETE FROM failure
 WHERE last_at < :oldest
    OR last_at < (SELECT last_at FROM failure ORDER BY last_at DESC LIMIT 1 OFFSET {MOST - 1})"""

_NEWEST = "ORDER BY last_at DESC, address, listener, code LIMIT :limit"
ALL = f"SELECT {COLUMNS} FROM failure WHERE last_at >= :since {_NEWEST}"
OF_ADDRESS = f"SELECT {COLUMNS} FROM failure WHERE address = :address AND last_at >= :since {_NEWEST}"
OF_NODE = f"""
SELECT {COLUMNS} FROM failure
 WHERE last_at >= :since
   AND (node = :node
        OR (node = '' AND address <> ''
            AND address IN (SELECT address FROM device WHERE name = :node AND address IS NOT NULL
                             UNION
                            SELECT u.address FROM certificate c JOIN token_use u ON u.key_id = c.token AND u.serial = c.serial
                             WHERE c.identity = :node AND c.profile = 'device')))
 {_NEWEST}"""
NODES_AT = "SELECT name FROM device WHERE address = :address ORDER BY last_seen DESC LIMIT 20"
