"""The statements, in the SQL that SQLite (3.35 and later) and PostgreSQL share; `:name` marks a parameter.

SQL is a first-class citizen here: a rule that must hold under concurrency is a condition in one of these statements, and the number
of rows it changed says whether the rule held. `SPEND` is the one statement that spends a token, `PLAN` the one that admits a certificate.
"""

import functools
import re

PARAMETER = re.compile(r"(?<!:):([a-z][a-z0-9_]*)")


@functools.cache
def parameters(statement: str) -> tuple[str, ...]:
    """The names of a statement's parameters, in the order in which they are first in it."""
    return tuple(dict.fromkeys(PARAMETER.findall(statement)))


CERTIFICATE_COLUMNS = (
    "issuer_id, serial, state, profile, identity, spki_sha256, evidence, token, replaces, not_before, not_after, planned_at,"
    " der, fingerprint, issued_at, connected_at, revoked_at, revocation_reason"
)
DEVICE_COLUMNS = (
    "name, created_at, blocked_at, blocked_reason, online_since, offline_since, offline_cause, last_seen, address, connections,"
    " clock_skew_ms, refused_at, refused_why"
)
TOKEN_COLUMNS = "key_id, digest, node, pattern, uses, used, expires_at, network, unblock, created_at, revoked_at"
AUDIT_COLUMNS = "n, at, actor, action, object, facts, hash"

MANY = 20
"""Certificates of one name or one key that anybody has to look at: a device that renews itself without end must not slow others down."""

_VALID = "state = 'issued' AND revoked_at IS NULL AND not_after >= :at"

# ------------------------------------------------------------------------------------------- enrolment, in this order

SPEND = """
UPDATE token SET used = used + :count
 WHERE key_id = :key_id AND used + :count <= uses AND revoked_at IS NULL AND expires_at > :at"""

ADMIT_DEVICE = """
INSERT INTO device (name, created_at) VALUES (:identity, :at)
    ON CONFLICT (name) DO UPDATE SET
       blocked_at = CASE WHEN :unblock = 1 THEN NULL ELSE device.blocked_at END,
       blocked_reason = CASE WHEN :unblock = 1 THEN NULL ELSE device.blocked_reason END
 WHERE device.blocked_at IS NULL OR :unblock = 1"""

SUPERSEDE_UNCONNECTED = """
UPDATE certificate SET revoked_at = :at, revocation_reason = 'superseded'
 WHERE serial = :serial AND identity = :identity AND state = 'issued' AND revoked_at IS NULL AND connected_at IS NULL"""

HOLD_RENEWED = """
UPDATE certificate SET revoked_at = NULL
 WHERE serial = :serial AND identity = :identity AND state = 'issued' AND revoked_at IS NULL"""

# The condition is an issuer that is null, which the table refuses. As the WHERE of a SELECT it would be read from the table that is
# written, and SQLite would make a table of its own for the one row in between: 40 % of the statement.
PLAN = """
INSERT INTO certificate (issuer_id, serial, state, profile, identity, spki_sha256, evidence, token, replaces,
                         not_before, not_after, planned_at, replica)
VALUES (CASE WHEN :new_name_only = 0
               OR NOT EXISTS (SELECT 1 FROM certificate
                               WHERE identity = :identity AND profile = :profile AND state IN ('issued', 'planned')
                                 AND revoked_at IS NULL AND not_after >= :planned_at)
             THEN :issuer_id END,
        :serial, 'planned', :profile, :identity, :spki_sha256, :evidence, :token, :replaces,
        :not_before, :not_after, :planned_at, :replica)"""

RECORD_USE = "INSERT INTO token_use (key_id, at, node, address, serial) VALUES (:key_id, :at, :node, :address, :serial)"

ISSUE = """
UPDATE certificate SET state = 'issued', der = :der, fingerprint = :fingerprint, issued_at = :at
 WHERE issuer_id = :issuer_id AND serial = :serial AND state = 'planned'"""

ADOPT = """
INSERT INTO certificate (issuer_id, serial, state, profile, identity, spki_sha256, evidence, not_before, not_after, planned_at,
                         der, fingerprint, issued_at)
SELECT :issuer_id, :serial, 'issued', :profile, :identity, :spki_sha256, :evidence, :not_before, :not_after, :planned_at,
       :der, :fingerprint, :issued_at
 WHERE NOT EXISTS (SELECT 1 FROM certificate
                    WHERE identity = :identity AND profile = :profile
                      AND (evidence = :evidence OR state IN ('issued', 'planned') AND revoked_at IS NULL AND not_after >= :planned_at))
   AND NOT EXISTS (SELECT 1 FROM certificate WHERE fingerprint = :fingerprint)
   AND NOT EXISTS (SELECT 1 FROM certificate WHERE serial = :serial)"""

# ----------------------------------------------------------------------------------------------------------- presence

SEEN = "UPDATE device SET last_seen = :at WHERE name = :name"
ALL_OFFLINE = """
UPDATE device SET online_since = NULL, offline_since = COALESCE(last_seen, :at), offline_cause = :cause
 WHERE online_since IS NOT NULL AND COALESCE(replica, '') = :replica"""

# -------------------------------------------------------------------------------------------------------- the rest

SETTING = "SELECT value FROM setting WHERE name = :name"
PUT_SETTING = """
INSERT INTO setting (name, value) VALUES (:name, :value) ON CONFLICT (name) DO UPDATE SET value = excluded.value"""
NEW_SETTING = "INSERT INTO setting (name, value) VALUES (:name, :value) ON CONFLICT (name) DO NOTHING"
SWAP_SETTING = "UPDATE setting SET value = :value WHERE name = :name AND value = :expected"

ISSUERS = "SELECT id, certificate, key, state, origin, created_at FROM issuer ORDER BY id"
ADD_ISSUER = """
INSERT INTO issuer (certificate, key, state, origin, created_at)
VALUES (:certificate, :key, :state, :origin, :created_at) RETURNING id"""
ACTIVATE = "UPDATE issuer SET state = 'active' WHERE id = :id AND state = 'prepared'"
RETIRE_ACTIVE = "UPDATE issuer SET state = 'retired' WHERE state = 'active'"

TOKEN = f"SELECT {TOKEN_COLUMNS} FROM token WHERE key_id = :key_id"
# of the token only what may change; the rest of it is read once
STANDING = f"""
SELECT d.blocked_at, d.blocked_reason,
       EXISTS (SELECT 1 FROM certificate WHERE identity = :node AND profile = 'device' AND {_VALID}),
       EXISTS (SELECT 1 FROM certificate WHERE spki_sha256 = :spki_sha256),
       t.used, t.revoked_at
  FROM (SELECT 1) one
  LEFT JOIN token t ON t.key_id = :key_id
  LEFT JOIN device d ON d.name = :node"""
TOKENS = f"SELECT {TOKEN_COLUMNS} FROM token ORDER BY created_at, key_id"
TOKENS_MADE_BY = f"""
SELECT {TOKEN_COLUMNS} FROM token
 WHERE revoked_at IS NULL AND expires_at > :at AND used < uses
   AND 'token:' || key_id IN (SELECT object FROM audit WHERE actor = :actor AND action = 'token.created')
 ORDER BY created_at, key_id"""
TOKEN_USES = "SELECT key_id, at, node, address, serial FROM token_use WHERE key_id = :key_id ORDER BY at"
ADD_TOKEN = f"""
INSERT INTO token ({TOKEN_COLUMNS})
SELECT :key_id, :digest, :node, :pattern, :uses, :used, :expires_at, :network, :unblock, :created_at, :revoked_at
 WHERE :operator = '' OR EXISTS (SELECT 1 FROM certificate WHERE identity = :operator AND profile = 'operator' AND {_VALID})"""
REVOKE_TOKEN = "UPDATE token SET revoked_at = :at WHERE key_id = :key_id AND revoked_at IS NULL"
GIVE_BACK = "UPDATE token SET used = used - 1 WHERE key_id = :key_id AND used > 0"

BY_FINGERPRINT = f"SELECT {CERTIFICATE_COLUMNS} FROM certificate WHERE fingerprint = :fingerprint"
PRESENTED = f"""
SELECT c.issuer_id, c.serial, c.state, c.profile, c.identity, c.not_before, c.not_after, c.connected_at, c.revoked_at,
       c.revocation_reason, d.name, d.blocked_at, d.blocked_reason,
       c.connected_at IS NULL AND EXISTS (
         SELECT 1 FROM certificate
          WHERE identity = c.identity AND profile = c.profile AND serial <> c.serial AND {_VALID}
            AND (serial = c.replaces OR issued_at <= c.issued_at AND COALESCE(replaces, '') <> c.serial))
  FROM certificate c LEFT JOIN device d ON d.name = c.identity
 WHERE c.fingerprint = :fingerprint"""
BY_SERIAL = f"SELECT {CERTIFICATE_COLUMNS} FROM certificate WHERE serial = :serial"
PLANNED = f"SELECT {CERTIFICATE_COLUMNS} FROM certificate WHERE state = 'planned' AND COALESCE(replica, '') = :replica"
VALID_CERTIFICATES = f"""
SELECT {CERTIFICATE_COLUMNS} FROM certificate
 WHERE identity = :identity AND profile = :profile AND {_VALID} ORDER BY issued_at DESC, serial LIMIT {MANY}"""
OF_KEY = f"""
SELECT {CERTIFICATE_COLUMNS} FROM certificate
 WHERE spki_sha256 = :spki_sha256 AND state = 'issued'
 ORDER BY COALESCE(revocation_reason, '') = 'keyCompromise' DESC, issued_at DESC LIMIT {MANY}"""
KEYS = 64
"""Keys that one statement looks for."""

KNOWN_KEYS = f"""
SELECT DISTINCT spki_sha256 FROM certificate
 WHERE spki_sha256 IN ({", ".join(f":k{place}" for place in range(KEYS))}) AND state = 'issued'"""
UNDER_PROFILE = f"""
SELECT {CERTIFICATE_COLUMNS} FROM certificate
 WHERE profile = :profile AND state = 'issued' ORDER BY identity, issued_at DESC, serial LIMIT 1000"""
ADD_ISSUED = f"""
INSERT INTO certificate ({CERTIFICATE_COLUMNS})
VALUES (:issuer_id, :serial, :state, :profile, :identity, :spki_sha256, :evidence, :token, :replaces, :not_before, :not_after,
        :planned_at, :der, :fingerprint, :issued_at, :connected_at, :revoked_at, :revocation_reason)"""
ABANDON = """
UPDATE certificate SET state = 'abandoned', revoked_at = :at, revocation_reason = 'unspecified'
 WHERE issuer_id = :issuer_id AND serial = :serial AND state = 'planned'"""
ABANDONED_TOKEN = "SELECT token FROM certificate WHERE issuer_id = :issuer_id AND serial = :serial"
# what was revoked stays as it is, but for one thing that may become known later: that the key was compromised
_NOT_YET = "(revoked_at IS NULL OR (:reason = 'keyCompromise' AND COALESCE(revocation_reason, '') <> 'keyCompromise'))"
REVOKE = f"""
UPDATE certificate SET revoked_at = COALESCE(revoked_at, :at), revocation_reason = :reason
 WHERE serial = :serial AND {_NOT_YET} AND state = 'issued' RETURNING {CERTIFICATE_COLUMNS}"""
REVOKED = """
SELECT serial, revoked_at, revocation_reason FROM certificate
 WHERE issuer_id = :issuer_id AND revoked_at IS NOT NULL AND not_after >= :since ORDER BY revoked_at, serial"""
BLOCK = """
INSERT INTO device (name, created_at, blocked_at, blocked_reason) VALUES (:name, :at, :at, :reason)
    ON CONFLICT (name) DO UPDATE SET blocked_at = excluded.blocked_at, blocked_reason = excluded.blocked_reason
 WHERE device.blocked_at IS NULL"""
REVOKE_WAYS_BACK = """
UPDATE token SET revoked_at = :at WHERE node = :name AND unblock = 1 AND revoked_at IS NULL AND used < uses"""
# one that is planned when its device is blocked is issued in a moment, and must be revoked when it is
REVOKE_NODE = f"""
UPDATE certificate SET revoked_at = COALESCE(revoked_at, :at), revocation_reason = :reason
 WHERE identity = :name AND profile = 'device' AND state IN ('issued', 'planned')
   AND {_NOT_YET} AND (not_after >= :at OR :reason = 'keyCompromise')
RETURNING {CERTIFICATE_COLUMNS}"""
FIRST_CONNECTION = """
UPDATE certificate SET connected_at = :at
 WHERE issuer_id = :issuer_id AND serial = :serial AND connected_at IS NULL AND revoked_at IS NULL"""
# who replaces whom is known; times are for the rest, because they may be equal, and clocks are set back
REVOKE_OLDER = f"""
UPDATE certificate SET revoked_at = :at, revocation_reason = 'superseded'
 WHERE identity = :identity AND profile = :profile AND serial <> :serial AND {_VALID}
   AND (serial = :replaces OR issued_at <= :issued_at AND COALESCE(replaces, '') <> :serial)
RETURNING {CERTIFICATE_COLUMNS}"""

DEVICE = f"SELECT {DEVICE_COLUMNS} FROM device WHERE name = :name"
NODES = f"""
SELECT {", ".join("d." + column for column in DEVICE_COLUMNS.split(", "))},
       {", ".join("c." + column.strip() for column in CERTIFICATE_COLUMNS.split(","))}
  FROM device d
  LEFT JOIN certificate c
    ON c.identity = d.name AND c.profile = 'device' AND c.state = 'issued'
   AND c.serial = (SELECT n.serial FROM certificate n
                    WHERE n.identity = d.name AND n.profile = 'device' AND n.state = 'issued'
                    ORDER BY n.issued_at DESC, (n.revoked_at IS NULL) DESC, n.serial LIMIT 1)
 ORDER BY d.name"""

AUDIT_TIP = "SELECT n, hash FROM audit ORDER BY n DESC LIMIT 1"
ADD_AUDIT = f"INSERT INTO audit ({AUDIT_COLUMNS}) VALUES (:n, :at, :actor, :action, :object, :facts, :hash)"
AUDIT = f"SELECT {AUDIT_COLUMNS} FROM audit WHERE n > :after ORDER BY n LIMIT :limit"
