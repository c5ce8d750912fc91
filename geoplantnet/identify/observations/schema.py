"""The tables of an observation store, the same on SQLite and PostgreSQL. Migrations make them; a test holds the two to each other.

Rows are numbered from 0 without a gap (`position`): a position is what the arrays of `Votes` count by. Acts (taxa, observations, votes,
predictions, weights) share one counter, `logged`, from 1 without a gap: a state is known by the number of the last act it has seen.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Select,
    SmallInteger,
    Table,
    Text,
    literal_column,
    select,
    text,
)

KINDS = ("determination", "quality", "organ", "malformed", "not_a_plant", "cultivated", "withdrawn")
"""What a vote may be about; its number in the log is the place here. The last is the author's alone, and for good."""
ORGANS = ("auto", "leaf", "flower", "fruit", "bark", "habit", "other")
"""What an image shows; its number in the log is the place here. auto = nobody said."""
APPEND_ONLY = ("votes", "predictions", "weights")
"""Tables whose rows a trigger keeps from being changed or taken away."""

_ID = Text(collation="C").with_variant(Text(), "sqlite")  # both order by bytes of UTF-8, so records come in one order
metadata = MetaData()

head = Table(
    "head",
    metadata,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("checklist", Text, nullable=False),
    Column("logged", BigInteger, nullable=False),
    Column("chain", Text, nullable=False),
    Column("taxa", Integer, nullable=False),
    Column("users", Integer, nullable=False),
    Column("observations", Integer, nullable=False),
    Column("images", Integer, nullable=False),
    Column("models", Integer, nullable=False),
    CheckConstraint("one = 1", name="head_is_one_row"),
)
"""One row: how many there are of each, the last act, and the hash over all acts. Who writes locks it, so acts are numbered as they commit."""

taxa = Table(
    "taxa",
    metadata,
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("checklist", Text, nullable=False),
    Column("id", _ID, nullable=False),
    Column("scientific_name", Text, nullable=False),
    Column("genus", Text, nullable=False),
    Column("family", Text, nullable=False),
    Column("logged", BigInteger, nullable=False),
    Index("taxa_id", "checklist", "id", unique=True),
)

users = Table(
    "users",
    metadata,
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("id", _ID, nullable=False),
    Column("name", Text, nullable=False),
    Index("users_id", "id", unique=True),
)
"""Accounts. The name may change or go; the log knows the id alone."""

observations = Table(
    "observations",
    metadata,
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("id", _ID, nullable=False),
    Column("author", ForeignKey("users.position"), nullable=False),
    Column("latitude", Double),
    Column("longitude", Double),
    Column("coordinate_uncertainty", Double),
    Column("event_date", Text, nullable=False),
    Column("dataset_id", Text, nullable=False),
    Column("flora", Text, nullable=False),
    Column("license", Text, nullable=False),
    Column("rights_holder", Text, nullable=False),
    Column("verbatim_name", Text, nullable=False),
    Column("logged", BigInteger, nullable=False),
    Index("observations_id", "id", unique=True),
    Index("observations_author", "author"),
    Index("observations_place", "latitude", "longitude"),
)
"""PostgreSQL has beside these `geometry`, the point in EPSG:4326, made from them, and its GiST index."""

images = Table(
    "images",
    metadata,
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("observation", ForeignKey("observations.position"), nullable=False),
    Column("place", SmallInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("format", Text, nullable=False),
    Column("organ", SmallInteger, nullable=False),
    Column("size", Integer, nullable=False),
    Index("images_observation", "observation", "place", unique=True),
    Index("images_sha256", "sha256"),
)
"""`place`: from 0, in the author's order. `size`: bytes. The file is found by its hash alone."""

votes = Table(
    "votes",
    metadata,
    Column("logged", BigInteger, primary_key=True, autoincrement=False),
    Column("observation", ForeignKey("observations.position"), nullable=False),
    Column("voter", ForeignKey("users.position"), nullable=False),
    Column("kind", SmallInteger, nullable=False),
    Column("image", ForeignKey("images.position")),
    Column("value", Integer),
    Column("at", BigInteger, nullable=False),
    Column("key", Text),
    Index("votes_observation", "observation"),
    Index("votes_key", "voter", "key", unique=True),  # votes without a key are all different
    Index("votes_withdrawn", "observation", sqlite_where=text("kind = 6"), postgresql_where=text("kind = 6")),
)
"""The log. `value`: taxa.position, -1 to 1, a place in ORGANS, 0 or 1; null withdraws. `at`: milliseconds since 1970 UTC.

What stands is the last row of each (observation, voter, kind, image)."""

models = Table(
    "models",
    metadata,
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("about", Text, nullable=False),
    Index("models_version", "name", "version", unique=True),
)

predictions = Table(
    "predictions",
    metadata,
    Column("logged", BigInteger, primary_key=True, autoincrement=False),
    Column("observation", ForeignKey("observations.position"), nullable=False),
    Column("model", ForeignKey("models.position"), nullable=False),
    Column("taxon", ForeignKey("taxa.position"), nullable=False),
    Column("score", Double, nullable=False),
    Index("predictions_observation", "observation"),
)
"""What models said; what stands is an observation's last row."""

weights = Table(
    "weights",
    metadata,
    Column("logged", BigInteger, primary_key=True, autoincrement=False),
    Column("voter", ForeignKey("users.position"), nullable=False),
    Column("fixed", Double),
    Column("minimal", Double),
    Column("at", BigInteger, nullable=False),
)
"""Acts of administrators; what stands is a user's last row, null = none."""

labels = Table(
    "labels",
    metadata,
    Column("observation", ForeignKey("observations.position"), primary_key=True, autoincrement=False),
    Column("taxon", ForeignKey("taxa.position")),
    Column("valid", Boolean, nullable=False),
    Column("confidence", Double, nullable=False),
    Column("agreement", Double, nullable=False),
)
"""What the last aggregation made of the log, an observation each it has seen."""

user_weights = Table(
    "user_weights",
    metadata,
    Column("voter", ForeignKey("users.position"), primary_key=True, autoincrement=False),
    Column("weight", Double, nullable=False),
)
"""Empty where the strategy weighs all alike."""

state = Table(
    "state",
    metadata,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("logged", BigInteger, nullable=False),
    Column("chain", Text, nullable=False),
    Column("strategy", Text, nullable=False),
    Column("parameters", Text, nullable=False),
    Column("users", Integer, nullable=False),
    Column("iterations", Integer, nullable=False),
    Column("converged", Boolean, nullable=False),
    Column("cycle", Integer, nullable=False),
    Column("notes", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    CheckConstraint("one = 1", name="state_is_one_row"),
)
"""No row, or one: what `labels` and `user_weights` stand for. `parameters` and `notes` are JSON."""


def withdrawn() -> Select[tuple[int]]:
    """Positions of the observations that were taken back. The number stands in the query: only so is the index of a few rows used."""
    return select(votes.c.observation).where(votes.c.kind == literal_column(str(KINDS.index("withdrawn"))))


def postgis_schema(connection: Connection) -> str:
    """The schema, quoted, that holds PostGIS's types and functions: `public` as a rule, but no session need have it in its search path."""
    query = "SELECT quote_ident(nspname) FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = 'postgis'"
    return str(connection.execute(text(query)).scalar_one())
