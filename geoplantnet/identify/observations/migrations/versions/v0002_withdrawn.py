"""Observations that their authors took back are found at once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """An index of the votes that take an observation back (kind 6), which are few."""
    op.create_index("votes_withdrawn", "votes", ["observation"], sqlite_where=sa.text("kind = 6"), postgresql_where=sa.text("kind = 6"))
