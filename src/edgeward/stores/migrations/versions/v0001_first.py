"""The first schema: settings, issuers, certificates, devices, tokens and the audit chain.

Times are milliseconds since 1970 in UTC; serials are lower-case hex without leading zeros.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create every table of the first version."""
    op.create_table(
        "setting", sa.Column("name", sa.Text, primary_key=True), sa.Column("value", sa.Text, nullable=False)
    )
    op.create_table(
        "issuer",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("certificate", sa.LargeBinary, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_index(
        "one_active_issuer",
        "issuer",
        ["state"],
        unique=True,
        sqlite_where=sa.text("state = 'active'"),
        postgresql_where=sa.text("state = 'active'"),
    )
    op.create_table(
        "certificate",
        sa.Column("issuer_id", sa.Integer, sa.ForeignKey("issuer.id"), nullable=False),
        sa.Column("serial", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("profile", sa.Text, nullable=False),
        sa.Column("identity", sa.Text, nullable=False),
        sa.Column("spki_sha256", sa.LargeBinary, nullable=False),
        sa.Column("evidence", sa.Text, nullable=False),
        sa.Column("token", sa.Text),
        sa.Column("replaces", sa.Text),
        sa.Column("not_before", sa.BigInteger, nullable=False),
        sa.Column("not_after", sa.BigInteger, nullable=False),
        sa.Column("planned_at", sa.BigInteger, nullable=False),
        sa.Column("der", sa.LargeBinary),
        sa.Column("fingerprint", sa.LargeBinary),
        sa.Column("issued_at", sa.BigInteger),
        sa.Column("connected_at", sa.BigInteger),
        sa.Column("revoked_at", sa.BigInteger),
        sa.Column("revocation_reason", sa.Text),
        sa.PrimaryKeyConstraint("serial", "issuer_id"),
    )
    op.create_index("certificate_fingerprint", "certificate", ["fingerprint"], unique=True)
    op.create_index("certificate_identity", "certificate", ["identity", "profile"])
    op.create_index("certificate_key", "certificate", ["spki_sha256"])
    op.create_index(
        "certificate_planned",
        "certificate",
        ["state"],
        sqlite_where=sa.text("state = 'planned'"),
        postgresql_where=sa.text("state = 'planned'"),
    )
    op.create_table(
        "device",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("blocked_at", sa.BigInteger),
        sa.Column("blocked_reason", sa.Text),
        sa.Column("online_since", sa.BigInteger),
        sa.Column("offline_since", sa.BigInteger),
        sa.Column("offline_cause", sa.Text),
        sa.Column("last_seen", sa.BigInteger),
        sa.Column("address", sa.Text),
        sa.Column("connections", sa.Integer, nullable=False, server_default="0"),
    )
    op.create_table(
        "token",
        sa.Column("key_id", sa.Text, primary_key=True),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("node", sa.Text),
        sa.Column("pattern", sa.Text),
        sa.Column("uses", sa.Integer, nullable=False),
        sa.Column("used", sa.Integer, nullable=False, server_default="0"),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("network", sa.Text),
        sa.Column("unblock", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("revoked_at", sa.BigInteger),
        sa.CheckConstraint("used >= 0 AND used <= uses", name="token_uses"),
    )
    op.create_table(
        "token_use",
        sa.Column("key_id", sa.Text, sa.ForeignKey("token.key_id"), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("node", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("serial", sa.Text, nullable=False),
    )
    op.create_index("token_use_key_id", "token_use", ["key_id"])
    op.create_table(
        "audit",
        sa.Column("n", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("object", sa.Text, nullable=False),
        sa.Column("facts", sa.Text, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
    )
