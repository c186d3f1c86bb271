"""What an organization may have, where it is another amount than the settings say."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the database to this form."""
    # Not in batch mode, which may make a table of SQLite anew and so take along all rows that refer to it.
    op.add_column("organization", sa.Column("quota_servers", sa.Integer(), nullable=True))
    op.add_column("organization", sa.Column("quota_runs", sa.Integer(), nullable=True))


def downgrade() -> None:
    """Take the database back to the form before."""
    op.drop_column("organization", "quota_runs")
    op.drop_column("organization", "quota_servers")
