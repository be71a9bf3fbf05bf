"""The queue of messages for nodes, and which version of which object each node has acknowledged."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the queue's tables."""
    op.create_table(
        "message",
        sa.Column("n", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("node", sa.Text, nullable=False),
        sa.Column("msg_id", sa.Text, nullable=False),
        sa.Column("wire", sa.LargeBinary),
        sa.Column("octets", sa.Integer, nullable=False),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("resource", sa.Text, nullable=False),
        sa.Column("acknowledge", sa.Integer, nullable=False),
        sa.Column("queued_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("uid", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("sent_at", sa.BigInteger),
        sa.Column("settled_at", sa.BigInteger),
        sa.Column("answer", sa.Text),
        sqlite_autoincrement=True,
    )
    op.create_index("message_msg_id", "message", ["msg_id"], unique=True)
    op.create_index("message_node", "message", ["node", "n"])
    live = sa.text("settled_at IS NULL")
    op.create_index("message_live", "message", ["node", "n", "octets"], sqlite_where=live, postgresql_where=live)
    op.create_index("message_expiry", "message", ["expires_at"], sqlite_where=live, postgresql_where=live)
    settled = sa.text("settled_at IS NOT NULL")
    op.create_index("message_settled", "message", ["settled_at"], sqlite_where=settled, postgresql_where=settled)
    op.create_table(
        "delivered",
        sa.Column("node", sa.Text, nullable=False),
        sa.Column("uid", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("node", "uid"),
    )
