"""Failures: handshakes, enrolments and connections that did not succeed, counted together.

A text that is not known is empty, so that the unique key can be compared. `network` is the address, or the /64 of an IPv6 one.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the table of failures."""
    op.create_table(
        "failure",
        sa.Column("listener", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("node", sa.Text, nullable=False),
        sa.Column("dialled", sa.Text, nullable=False),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("alert", sa.Text, nullable=False),
        sa.Column("received", sa.Integer, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("learnt", sa.Text),
        sa.Column("subject", sa.Text),
        sa.Column("issuer", sa.Text),
        sa.Column("fingerprint", sa.Text),
        sa.Column("not_after", sa.BigInteger),
        sa.Column("first_at", sa.BigInteger, nullable=False),
        sa.Column("last_at", sa.BigInteger, nullable=False),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("network", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("address", "listener", "node", "dialled", "code", "alert", "received"),
    )
    op.create_index("failure_last_at", "failure", ["last_at"])
    op.create_index("failure_network", "failure", ["network", "last_at"])
    op.create_index("failure_node", "failure", ["node", "last_at"])
