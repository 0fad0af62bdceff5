"""Alembic's entry point: runs the migrations on the connection that `migrate` passes, in its transaction."""

from alembic import context

from components.store.schema import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
context.run_migrations()
