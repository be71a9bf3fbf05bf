"""The history of each node: when it came and went, was refused, and how its clock goes."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Create the table, and the columns for the last of each kind."""
    op.create_table(
        "timeline",
        sa.Column("n", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("node", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
    )
    op.create_index("timeline_node", "timeline", ["node", "n"])
    op.add_column("device", sa.Column("clock_skew_ms", sa.BigInteger))
    op.add_column("device", sa.Column("refused_at", sa.BigInteger))
    op.add_column("device", sa.Column("refused_why", sa.Text))
