"""One run on a machine at a time, batches, and looks on a schedule."""

import sqlalchemy as sa
from alembic import op

from api.data.tables import UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this form."""
    # Not in batch mode, which makes a table of SQLite anew and so takes along all rows that refer to it.
    op.add_column("server", sa.Column("address", sa.String(), nullable=True))
    op.add_column("server", sa.Column("shown_key", sa.String(), nullable=True))
    op.add_column("server", sa.Column("drift_at", UtcDateTime(), nullable=True))
    op.create_index("ix_server_drift_at", "server", ["drift_at"], unique=False)
    op.add_column("run", sa.Column("priority", sa.Integer(), server_default="0", nullable=False))
    op.add_column("run", sa.Column("batch_id", sa.String(), nullable=True))
    op.create_index("ix_run_batch_id", "run", ["batch_id"], unique=False)
    op.create_table(
        "machine_hold",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_index("ix_machine_hold_run_id", "machine_hold", ["run_id"], unique=False)
    op.create_table(
        "batch",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("force", sa.Boolean(), nullable=False),
        sa.Column("steps", sa.JSON(), nullable=False),
        sa.Column("max_concurrent", sa.Integer(), nullable=False),
        sa.Column("max_failures", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("refused", sa.JSON(), nullable=False),
        sa.Column("stopped", sa.String(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("stopped_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )


def downgrade() -> None:
    """Go back to the form before."""
    op.drop_table("batch")
    op.drop_table("machine_hold")
    op.drop_index("ix_run_batch_id", "run")
    op.drop_column("run", "batch_id")
    op.drop_column("run", "priority")
    op.drop_index("ix_server_drift_at", "server")
    op.drop_column("server", "drift_at")
    op.drop_column("server", "shown_key")
    op.drop_column("server", "address")
