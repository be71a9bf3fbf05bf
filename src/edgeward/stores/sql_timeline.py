"""The statements of the nodes' history, in the SQL that SQLite and PostgreSQL share."""

ADD = """
INSERT INTO timeline (node, at, event, why, address)
SELECT :node, :at, :event, :why, :address WHERE EXISTS (SELECT 1 FROM device WHERE name = :node)"""
TRIM = """
DELETE FROM timeline
 WHERE node = :node AND n <= (SELECT n FROM timeline WHERE node = :node ORDER BY n DESC LIMIT 1 OFFSET :kept)"""
REFUSED = "UPDATE device SET refused_at = :at, refused_why = :why WHERE name = :node"
SKEW = "UPDATE device SET clock_skew_ms = :skew WHERE name = :node"
OF_NODE = "SELECT node, at, event, why, address FROM timeline WHERE node = :node ORDER BY n DESC LIMIT :limit"
