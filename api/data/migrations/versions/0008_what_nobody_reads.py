"""Without two columns that were written and never read."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this form."""
    op.drop_column("batch", "stopped_at")
    op.drop_column("idempotent_answer", "status")


def downgrade() -> None:
    """Go back."""
    op.add_column("idempotent_answer", sa.Column("status", sa.Integer(), nullable=False, server_default="200"))
    op.add_column("batch", sa.Column("stopped_at", sa.DateTime(timezone=True), nullable=True))
