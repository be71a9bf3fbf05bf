"""The statements of replicas, in the SQL that SQLite and PostgreSQL share."""

from edgeward.stores.sql import CERTIFICATE_COLUMNS

BEAT = "UPDATE replica SET seen_at = :at WHERE id = :replica"
ENTER = (
    "INSERT INTO replica (id, seen_at) VALUES (:replica, :at) ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at"
)
LIVE = """
INSERT INTO setting (name, value) VALUES (:name, '1')
    ON CONFLICT (name) DO UPDATE SET value = CAST(CAST(setting.value AS integer) + 1 AS text) RETURNING value"""
LEAVE = "DELETE FROM replica WHERE id = :replica"
LAPSED = "DELETE FROM replica WHERE seen_at < :before AND id <> :replica RETURNING id"
CLEAR = """
UPDATE device SET online_since = NULL, offline_since = COALESCE(last_seen, :at), offline_cause = 'unknown'
 WHERE online_since IS NOT NULL AND replica = :lapsed"""
ORPHANS = f"""
SELECT {CERTIFICATE_COLUMNS} FROM certificate
 WHERE state = 'planned' AND planned_at < :before AND COALESCE(replica, '') <> :replica
   AND NOT EXISTS (SELECT 1 FROM replica alive WHERE alive.id = certificate.replica AND alive.seen_at >= :before)"""
FIRST = "SELECT MIN(id) FROM replica"
TIP = "SELECT COALESCE(MAX(n), 0) FROM audit"
ACTIONS = (
    "node.revoked",
    "certificate.revoked",
    "operator.revoked",
    "authority.advertised",
    "server-certificate.changed",
    "ca.imported",
    "ca.activated",
    "trust.changed",
    "kubeedge-tokens.accepted",
    "kubeedge-adoption.changed",
)
"""What other replicas act on."""
CHANGES = f"""
SELECT n, action, object FROM audit
 WHERE n > :after AND action IN ({", ".join(f"'{action}'" for action in ACTIONS)}) ORDER BY n LIMIT :limit"""
EPOCH = "SELECT COALESCE(MAX(epoch), 0) FROM device"
MOVED = """
SELECT name, epoch FROM device WHERE online_since >= :since AND COALESCE(replica, '') <> :replica"""
HOLD = """
UPDATE device SET online_since = :at, last_seen = COALESCE(last_seen, :at), address = :address, replica = :replica, epoch = :epoch,
                  offline_since = NULL, offline_cause = NULL
 WHERE name = :name AND epoch <= :epoch AND online_since IS NULL"""
