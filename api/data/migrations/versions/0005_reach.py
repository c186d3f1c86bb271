"""One run on a machine at a time."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this form."""
    with op.batch_alter_table("server", schema=None) as batch_op:
        batch_op.add_column(sa.Column("address", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("shown_key", sa.String(), nullable=True))
    op.create_table(
        "machine_hold",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("name"),
    )
    with op.batch_alter_table("machine_hold", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_machine_hold_run_id"), ["run_id"], unique=False)


def downgrade() -> None:
    """Go back to the form before."""
    op.drop_table("machine_hold")
    with op.batch_alter_table("server", schema=None) as batch_op:
        batch_op.drop_column("shown_key")
        batch_op.drop_column("address")
