"""The queue's statements, in the SQL that SQLite (3.35 and later) and PostgreSQL share; `:name` marks a parameter.

`_enqueue` is the one statement that admits a message: bounds, device and versions are its conditions, and whether it returns a row says
whether they held. A version of an object has its own form of it, so that the others are spared its look at versions.
"""

_COLUMNS = (
    "n, node, msg_id, wire, operation, resource, acknowledge, queued_at, expires_at, uid, version, digest, attempts"
)
_RECEIPT = (
    "n, node, msg_id, operation, resource, octets, acknowledge, state, queued_at, expires_at, sent_at, settled_at,"
    " attempts, answer"
)

_GIVES_WAY = "uid = :uid AND version >= 0 AND version < :version AND operation NOT IN ('delete', 'response')"
"""Which live rows of a node a version of an object takes the place of."""


def _enqueue(waiting: str, stale: str) -> str:
    return f"""
INSERT INTO message (node, msg_id, wire, octets, operation, resource, acknowledge, queued_at, expires_at, uid, version, digest,
                     attempts, state, settled_at)
SELECT :node, :msg_id, CASE WHEN s.stale = 0 THEN :wire END, :octets, :operation, :resource, :acknowledge, :queued_at, :expires_at,
       :uid, :version, :digest, 0, CASE WHEN s.stale = 0 THEN 'queued' ELSE 'superseded' END,
       CASE WHEN s.stale = 0 THEN NULL ELSE :queued_at END
  FROM (SELECT COUNT(*) AS waiting, COALESCE(SUM(octets), 0) AS octets
          FROM message WHERE node = :node AND settled_at IS NULL{waiting}) q,
       (SELECT {stale} AS stale) s
 WHERE (s.stale = 1 OR (q.waiting < :max_messages AND q.octets + :octets <= :max_octets))
   AND EXISTS (SELECT 1 FROM device WHERE name = :node AND blocked_at IS NULL)
    ON CONFLICT (msg_id) DO NOTHING
RETURNING n, state"""


ENQUEUE = _enqueue("", "0")
ENQUEUE_VERSION = _enqueue(
    f" AND NOT ({_GIVES_WAY})",
    """CASE WHEN EXISTS (SELECT 1 FROM message
                           WHERE node = :node AND uid = :uid AND settled_at IS NULL AND version >= :version)
                OR EXISTS (SELECT 1 FROM delivered WHERE node = :node AND uid = :uid AND version >= :version)
             THEN 1 ELSE 0 END""",
)

SUPERSEDE = f"""
UPDATE message SET state = 'superseded', settled_at = :queued_at, wire = NULL
 WHERE node = :node AND settled_at IS NULL AND {_GIVES_WAY}
RETURNING n, msg_id"""
SAME_ID = "SELECT n, state, digest FROM message WHERE msg_id = :msg_id"
WHY_NOT = """
SELECT (SELECT COUNT(*) FROM message WHERE node = :node AND settled_at IS NULL),
       (SELECT COALESCE(SUM(octets), 0) FROM message WHERE node = :node AND settled_at IS NULL),
       d.blocked_at, d.blocked_reason
  FROM device d WHERE d.name = :node"""

WAITING = "SELECT 1 FROM message WHERE node = :node AND settled_at IS NULL LIMIT 1"
PENDING = f"SELECT {_COLUMNS} FROM message WHERE node = :node AND settled_at IS NULL ORDER BY n LIMIT :limit"

SETTLE = """
UPDATE message SET state = :state, settled_at = :at, sent_at = :sent_at, attempts = :attempts, answer = :answer, wire = NULL
 WHERE n = :n AND settled_at IS NULL"""
REMEMBER = """
INSERT INTO delivered (node, uid, version) VALUES (:node, :uid, :version)
    ON CONFLICT (node, uid) DO UPDATE SET version = excluded.version WHERE excluded.version > delivered.version"""
FORGET_OBJECT = "DELETE FROM delivered WHERE node = :node AND uid = :uid"
TRIED = "UPDATE message SET attempts = :attempts, sent_at = :at WHERE n = :n AND settled_at IS NULL"
REFUSE = """
UPDATE message SET state = 'refused', settled_at = :at, wire = NULL WHERE node = :name AND settled_at IS NULL"""
CANCEL = """
UPDATE message SET state = 'cancelled', settled_at = :at, wire = NULL WHERE msg_id = :msg_id AND settled_at IS NULL"""
EXPIRE = """
UPDATE message SET state = 'expired', settled_at = :at, wire = NULL
 WHERE n IN (SELECT n FROM message WHERE settled_at IS NULL AND expires_at <= :at ORDER BY expires_at LIMIT 1000)
RETURNING node, n, msg_id"""

RECEIPT = f"SELECT {_RECEIPT} FROM message WHERE msg_id = :msg_id"
RECEIPTS = f"SELECT {_RECEIPT} FROM message WHERE n < :before ORDER BY n DESC LIMIT :limit"
RECEIPTS_OF_NODE = f"SELECT {_RECEIPT} FROM message WHERE node = :node AND n < :before ORDER BY n DESC LIMIT :limit"
LIVE = f"""
SELECT {_RECEIPT} FROM message WHERE settled_at IS NULL AND n < :before ORDER BY n DESC LIMIT :limit"""
LIVE_OF_NODE = f"""
SELECT {_RECEIPT} FROM message WHERE node = :node AND settled_at IS NULL AND n < :before ORDER BY n DESC LIMIT :limit"""
DEPTHS = """
SELECT node, COUNT(*), SUM(octets), MIN(queued_at) FROM message WHERE settled_at IS NULL GROUP BY node ORDER BY node"""

FORGET_OLD = """
DELETE FROM message WHERE n IN (SELECT n FROM message WHERE settled_at IS NOT NULL AND settled_at < :before
                                 ORDER BY settled_at LIMIT 5000)"""
SETTLED = "SELECT COUNT(*) FROM message WHERE settled_at IS NOT NULL"
FORGET_OLDEST = """
DELETE FROM message WHERE n IN (SELECT n FROM message WHERE settled_at IS NOT NULL ORDER BY settled_at LIMIT :excess)"""
