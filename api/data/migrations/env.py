"""Alembic's entry: runs the migrations on the connection that `api.data.migrate` hands over."""

from alembic import context
from sqlmodel import SQLModel

import api.data.tables  # noqa: F401 - declares the tables

connection = context.config.attributes["connection"]
context.configure(
    connection=connection, target_metadata=SQLModel.metadata, render_as_batch=True, transaction_per_migration=True
)
with context.begin_transaction():
    context.run_migrations()
