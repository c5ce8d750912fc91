"""Observations, images, the vote log, predictions, weights, and the state made from them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from geoplantnet.identify.observations.schema import postgis_schema

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ID = sa.Text(collation="C").with_variant(sa.Text(), "sqlite")
_LOGS = ("votes", "predictions", "weights")


def upgrade() -> None:
    """Make all tables, and the triggers that keep the log."""
    _tables()
    _logs()
    if op.get_bind().dialect.name == "postgresql":
        _on_postgresql()
    else:
        _on_sqlite()


def _tables() -> None:
    op.create_table(
        "head",
        _position("one"),
        sa.Column("checklist", sa.Text, nullable=False),
        sa.Column("logged", sa.BigInteger, nullable=False),
        sa.Column("chain", sa.Text, nullable=False),
        sa.Column("taxa", sa.Integer, nullable=False),
        sa.Column("users", sa.Integer, nullable=False),
        sa.Column("observations", sa.Integer, nullable=False),
        sa.Column("images", sa.Integer, nullable=False),
        sa.Column("models", sa.Integer, nullable=False),
        sa.CheckConstraint("one = 1", name="head_is_one_row"),
    )
    op.execute("INSERT INTO head VALUES (1, '', 0, '', 0, 0, 0, 0, 0)")
    op.create_table(
        "taxa",
        _position(),
        sa.Column("checklist", sa.Text, nullable=False),
        sa.Column("id", _ID, nullable=False),
        sa.Column("scientific_name", sa.Text, nullable=False),
        sa.Column("genus", sa.Text, nullable=False),
        sa.Column("family", sa.Text, nullable=False),
        sa.Column("logged", sa.BigInteger, nullable=False),
    )
    op.create_index("taxa_id", "taxa", ["checklist", "id"], unique=True)
    op.create_table("users", _position(), sa.Column("id", _ID, nullable=False), sa.Column("name", sa.Text, nullable=False))
    op.create_index("users_id", "users", ["id"], unique=True)
    op.create_table(
        "observations",
        _position(),
        sa.Column("id", _ID, nullable=False),
        sa.Column("author", sa.Integer, sa.ForeignKey("users.position"), nullable=False),
        sa.Column("latitude", sa.Double),
        sa.Column("longitude", sa.Double),
        sa.Column("coordinate_uncertainty", sa.Double),
        sa.Column("event_date", sa.Text, nullable=False),
        sa.Column("dataset_id", sa.Text, nullable=False),
        sa.Column("flora", sa.Text, nullable=False),
        sa.Column("license", sa.Text, nullable=False),
        sa.Column("rights_holder", sa.Text, nullable=False),
        sa.Column("verbatim_name", sa.Text, nullable=False),
        sa.Column("logged", sa.BigInteger, nullable=False),
    )
    op.create_index("observations_id", "observations", ["id"], unique=True)
    op.create_index("observations_author", "observations", ["author"])
    op.create_index("observations_place", "observations", ["latitude", "longitude"])
    op.create_table(
        "images",
        _position(),
        sa.Column("observation", sa.Integer, sa.ForeignKey("observations.position"), nullable=False),
        sa.Column("place", sa.SmallInteger, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("format", sa.Text, nullable=False),
        sa.Column("organ", sa.SmallInteger, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
    )
    op.create_index("images_observation", "images", ["observation", "place"], unique=True)
    op.create_index("images_sha256", "images", ["sha256"])
    op.create_table(
        "models",
        _position(),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("about", sa.Text, nullable=False),
    )
    op.create_index("models_version", "models", ["name", "version"], unique=True)
    op.create_table(
        "labels",
        sa.Column("observation", sa.Integer, sa.ForeignKey("observations.position"), primary_key=True, autoincrement=False),
        sa.Column("taxon", sa.Integer, sa.ForeignKey("taxa.position")),
        sa.Column("valid", sa.Boolean, nullable=False),
        sa.Column("confidence", sa.Double, nullable=False),
        sa.Column("agreement", sa.Double, nullable=False),
    )
    op.create_table(
        "user_weights",
        sa.Column("voter", sa.Integer, sa.ForeignKey("users.position"), primary_key=True, autoincrement=False),
        sa.Column("weight", sa.Double, nullable=False),
    )
    op.create_table(
        "state",
        _position("one"),
        sa.Column("logged", sa.BigInteger, nullable=False),
        sa.Column("chain", sa.Text, nullable=False),
        sa.Column("strategy", sa.Text, nullable=False),
        sa.Column("parameters", sa.Text, nullable=False),
        sa.Column("users", sa.Integer, nullable=False),
        sa.Column("iterations", sa.Integer, nullable=False),
        sa.Column("converged", sa.Boolean, nullable=False),
        sa.Column("cycle", sa.Integer, nullable=False),
        sa.Column("notes", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.CheckConstraint("one = 1", name="state_is_one_row"),
    )


def _logs() -> None:
    op.create_table(
        "votes",
        sa.Column("logged", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("observation", sa.Integer, sa.ForeignKey("observations.position"), nullable=False),
        sa.Column("voter", sa.Integer, sa.ForeignKey("users.position"), nullable=False),
        sa.Column("kind", sa.SmallInteger, nullable=False),
        sa.Column("image", sa.Integer, sa.ForeignKey("images.position")),
        sa.Column("value", sa.Integer),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("key", sa.Text),
    )
    op.create_index("votes_observation", "votes", ["observation"])
    op.create_index("votes_key", "votes", ["voter", "key"], unique=True)
    op.create_table(
        "predictions",
        sa.Column("logged", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("observation", sa.Integer, sa.ForeignKey("observations.position"), nullable=False),
        sa.Column("model", sa.Integer, sa.ForeignKey("models.position"), nullable=False),
        sa.Column("taxon", sa.Integer, sa.ForeignKey("taxa.position"), nullable=False),
        sa.Column("score", sa.Double, nullable=False),
    )
    op.create_index("predictions_observation", "predictions", ["observation"])
    op.create_table(
        "weights",
        sa.Column("logged", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("voter", sa.Integer, sa.ForeignKey("users.position"), nullable=False),
        sa.Column("fixed", sa.Double),
        sa.Column("minimal", sa.Double),
        sa.Column("at", sa.BigInteger, nullable=False),
    )


def _on_sqlite() -> None:
    for log in _LOGS:
        for act in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {log}_no_{act.lower()} BEFORE {act} ON {log} "
                f"BEGIN SELECT RAISE(ABORT, 'the log of {log} is append-only'); END"
            )


def _on_postgresql() -> None:
    public = op.get_bind().execute(sa.text("SELECT to_regnamespace('public') IS NOT NULL")).scalar_one()
    # Not in the store's own schema, which may be the first of the search path: there is one PostGIS a database, and others use it.
    op.execute("CREATE EXTENSION IF NOT EXISTS postgis" + (" WITH SCHEMA public" if public else ""))
    gis = postgis_schema(op.get_bind())
    op.execute(
        f"ALTER TABLE observations ADD COLUMN geometry {gis}.geometry(Point, 4326) "
        f"GENERATED ALWAYS AS ({gis}.ST_SetSRID({gis}.ST_MakePoint(longitude, latitude), 4326)) STORED"
    )
    op.execute("CREATE INDEX observations_geometry ON observations USING gist (geometry)")
    op.execute(
        "CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the log of % is append-only', TG_TABLE_NAME; END $$"
    )
    for log in _LOGS:
        op.execute(
            f"CREATE TRIGGER {log}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {log} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )


def _position(name: str = "position") -> sa.Column[int]:
    return sa.Column(name, sa.Integer, primary_key=True, autoincrement=False)
