"""Answers by their age, so that the old ones are found without reading them all."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this form."""
    op.create_index("ix_idempotent_answer_created_at", "idempotent_answer", ["created_at"], unique=False)


def downgrade() -> None:
    """Go back."""
    op.drop_index("ix_idempotent_answer_created_at", table_name="idempotent_answer")
