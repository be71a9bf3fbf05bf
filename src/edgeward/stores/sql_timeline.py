"""The statements of what happens to nodes, in the SQL that SQLite and PostgreSQL share."""

# a node that connects without end must not fail the write that it shares with others: its column has 31 bits
CONNECTED = """
UPDATE device SET online_since = :at, last_seen = :at, address = :address,
                  connections = CASE WHEN connections < 2000000000 THEN connections + :times ELSE connections END,
                  offline_since = NULL, offline_cause = NULL, replica = :replica, epoch = :epoch
 WHERE name = :name AND epoch <= :epoch"""
DISCONNECTED = """
UPDATE device SET online_since = NULL, offline_since = :at, offline_cause = :cause
 WHERE name = :name AND COALESCE(replica, '') = :replica"""
ADD = """
INSERT INTO timeline (node, at, event, why, address)
SELECT :node, :at, :event, :why, :address WHERE EXISTS (SELECT 1 FROM device WHERE name = :node)"""
TRIM = """
DELETE FROM timeline
 WHERE node = :node AND n <= (SELECT n FROM timeline WHERE node = :node ORDER BY n DESC LIMIT 1 OFFSET :kept)"""
REFUSED = "UPDATE device SET refused_at = :at, refused_why = :why WHERE name = :node"
SKEW = "UPDATE device SET clock_skew_ms = :skew WHERE name = :node"
OF_NODE = "SELECT node, at, event, why, address FROM timeline WHERE node = :node ORDER BY n DESC LIMIT :limit"
