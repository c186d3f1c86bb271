"""Agents: their tokens, and what they tell."""

import sqlalchemy as sa
from alembic import op

from api.data.tables import UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this form."""
    op.add_column("server", sa.Column("sealed_agent_token", sa.LargeBinary(), nullable=True))
    op.add_column("server", sa.Column("agent_token_hash", sa.String(), nullable=True))
    op.add_column("server", sa.Column("agent_since", UtcDateTime(), nullable=True))
    op.create_index("server_agent_token", "server", ["agent_token_hash"], unique=True)
    op.create_table(
        "sample",
        sa.Column("server_id", sa.Text(), nullable=False),
        sa.Column("second", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("load", sa.Float(), nullable=False),
        sa.Column("memory_total_bytes", sa.BigInteger(), nullable=False),
        sa.Column("memory_available_bytes", sa.BigInteger(), nullable=False),
        sa.Column("disk_total_bytes", sa.BigInteger(), nullable=False),
        sa.Column("disk_free_bytes", sa.BigInteger(), nullable=False),
        sa.Column("docker", sa.String(), nullable=False),
        sa.Column("uptime_seconds", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["server_id"], ["server.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("server_id", "second"),
    )
    with op.batch_alter_table("sample", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_sample_second"), ["second"], unique=False)


def downgrade() -> None:
    """Go back to the form before."""
    with op.batch_alter_table("sample", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_sample_second"))

    op.drop_table("sample")
    op.drop_index("server_agent_token", table_name="server")
    # Not in a batch: on SQLite that makes the table anew, and what refers to it goes with the old one.
    for column in ("agent_since", "agent_token_hash", "sealed_agent_token"):
        op.execute(f"ALTER TABLE server DROP COLUMN {column}")
