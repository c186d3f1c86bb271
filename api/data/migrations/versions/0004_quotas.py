"""What an organization may have, where it is another amount than the settings say."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this form."""
    with op.batch_alter_table("organization", schema=None) as batch_op:
        batch_op.add_column(sa.Column("quota_servers", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("quota_runs", sa.Integer(), nullable=True))


def downgrade() -> None:
    """Go back to the form before."""
    with op.batch_alter_table("organization", schema=None) as batch_op:
        batch_op.drop_column("quota_runs")
        batch_op.drop_column("quota_servers")
