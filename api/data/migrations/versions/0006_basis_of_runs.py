"""What a run was made with."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this form."""
    op.add_column("run", sa.Column("basis", sa.JSON(), nullable=True))


def downgrade() -> None:
    """Go back."""
    op.drop_column("run", "basis")
