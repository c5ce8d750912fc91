"""Run by alembic, on the connection that `database.upgrade` holds: one transaction, so a store has a version whole or not at all."""

from __future__ import annotations

from alembic import context

from geoplantnet.identify.observations.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
context.run_migrations()
