-- Species coverage of reporting cells, for PostgreSQL with PostGIS 3. Run it once, as the owner-to-be of the schema;
-- `geoplantnet.catalog.postgis.schema_sql` fills in the names in braces. All or nothing when run in one transaction.

CREATE EXTENSION IF NOT EXISTS postgis;
DO $$ BEGIN -- wherever it was put: a managed database, or another program, may have a schema of its own for it
    PERFORM set_config('search_path', concat_ws(', ', nullif(current_setting('search_path'), ''), quote_ident(nspname)), false)
    FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = 'postgis';
END $$;
CREATE SCHEMA {schema};
COMMENT ON SCHEMA {schema} IS 'geoplantnet: predicted species coverage of reporting cells, EPSG:3035. Predicted, not observed.';

CREATE TABLE {schema}.release (
    release_id text COLLATE "C" PRIMARY KEY,
    title text NOT NULL,
    notice text NOT NULL,
    licence text NOT NULL,
    interval_start timestamptz NOT NULL,
    interval_end timestamptz NOT NULL,
    plot_area_m2 double precision NOT NULL,
    set_rule text NOT NULL,
    checklist text NOT NULL,
    species_list text NOT NULL,
    version text NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE {schema}.release IS 'What was loaded: one row a run of the models. All releases of a schema share one species list.';
COMMENT ON COLUMN {schema}.release.release_id IS 'SHA-256 of the columns that follow, but loaded_at';
COMMENT ON COLUMN {schema}.release.notice IS 'To be shown wherever the data are';
COMMENT ON COLUMN {schema}.release.interval_start IS 'The time the prediction is for: from';
COMMENT ON COLUMN {schema}.release.interval_end IS 'The time the prediction is for: to';
COMMENT ON COLUMN {schema}.release.plot_area_m2 IS 'Probabilities are of finding the species on a plot of this area, m2';
COMMENT ON COLUMN {schema}.release.set_rule IS 'How the species set of a map cell follows from probabilities';
COMMENT ON COLUMN {schema}.release.species_list IS 'SHA-256 of checklist and ordered taxon ids';
COMMENT ON COLUMN {schema}.release.version IS 'Version of geoplantnet';
COMMENT ON COLUMN {schema}.release.loaded_at IS 'When it was first loaded';

CREATE TABLE {schema}.taxon (
    "taxonID" text COLLATE "C" PRIMARY KEY,
    "scientificName" text NOT NULL,
    "vernacularName" text,
    family text,
    genus text,
    tree boolean,
    woody boolean,
    invasive boolean,
    eu_directive boolean,
    rare boolean,
    iucn text
);
COMMENT ON TABLE {schema}.taxon IS 'The species that were loaded. Unknown is NULL, never false.';
COMMENT ON COLUMN {schema}.taxon."taxonID" IS 'Identifier in the checklist of the release';
COMMENT ON COLUMN {schema}.taxon.tree IS 'GlobalTreeSearch names it a tree';
COMMENT ON COLUMN {schema}.taxon.woody IS 'Ellenberg life form P, N or Z, or a tree';
COMMENT ON COLUMN {schema}.taxon.invasive IS 'On the Union list, Regulation (EU) 1143/2014';
COMMENT ON COLUMN {schema}.taxon.eu_directive IS 'On the checklist of the Habitats Directive, 92/43/EEC';
COMMENT ON COLUMN {schema}.taxon.rare IS 'Red List VU or worse, or eu_directive';
COMMENT ON COLUMN {schema}.taxon.iucn IS 'IUCN Red List category, from a file of the user''s own; NULL where none was given';

CREATE TABLE {schema}.meta_tile (
    tile_id text COLLATE "C" PRIMARY KEY,
    release_id text COLLATE "C" NOT NULL REFERENCES {schema}.release,
    sha256 text NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT now(),
    geom geometry(Polygon, 3035) NOT NULL
);
CREATE INDEX meta_tile_geom ON {schema}.meta_tile USING gist (geom);
COMMENT ON TABLE {schema}.meta_tile IS 'Tiles that are loaded. Where there is none, nothing is known: that is no absence.';
COMMENT ON COLUMN {schema}.meta_tile.tile_id IS 'Such as 25kmE4125N2575: side, then easting and northing of the lower-left corner, km';
COMMENT ON COLUMN {schema}.meta_tile.release_id IS 'The release the rows of the tile belong to';
COMMENT ON COLUMN {schema}.meta_tile.sha256 IS 'Of what its rows were made from: the tile''s species sets, and the species and region chosen';

CREATE TABLE {schema}.reporting_cell (
    cell_id text COLLATE "C" PRIMARY KEY,
    tile_id text COLLATE "C" NOT NULL REFERENCES {schema}.meta_tile ON DELETE CASCADE,
    n_cells integer NOT NULL,
    valid_cells integer NOT NULL CHECK (valid_cells BETWEEN 0 AND n_cells),
    geom geometry(Polygon, 3035) NOT NULL
);
CREATE INDEX reporting_cell_tile ON {schema}.reporting_cell (tile_id);
CREATE INDEX reporting_cell_geom ON {schema}.reporting_cell USING gist (geom);
COMMENT ON TABLE {schema}.reporting_cell IS 'Cells of the EEA reference grid that coverage is reported for; a cell belongs to one tile.';
COMMENT ON COLUMN {schema}.reporting_cell.cell_id IS 'Such as 5kmE4125N2575, as a tile is named';
COMMENT ON COLUMN {schema}.reporting_cell.n_cells IS 'Map cells inside';
COMMENT ON COLUMN {schema}.reporting_cell.valid_cells IS 'Those of them with a prediction; coverage is a share of these';

-- A partition holds the tiles of one block of 8 x 8. One a tile would be 19,180 for Europe, and a query that names no tile locks every
-- partition and each of its indices: PostgreSQL runs out of locks (max_locks_per_transaction) at some 2,000 of them. Blocks are 437.
-- Cells and taxa are checked tile by tile when it is loaded: foreign keys would check every row again, and a cascade look into every
-- partition. To withdraw a tile, delete its rows here and in meta_tile, in one transaction.
CREATE TABLE {schema}.species_coverage (
    tile_id text COLLATE "C" NOT NULL,
    cell_id text COLLATE "C" NOT NULL,
    "taxonID" text COLLATE "C" NOT NULL,
    coverage real NOT NULL CHECK (coverage BETWEEN 0 AND 1),
    mean_probability real NOT NULL CHECK (mean_probability BETWEEN 0 AND 1),
    PRIMARY KEY (cell_id, "taxonID", tile_id)
) PARTITION BY LIST (tile_id);
CREATE INDEX species_coverage_taxon ON {schema}.species_coverage ("taxonID", coverage);
COMMENT ON TABLE {schema}.species_coverage IS {coverage_about};
COMMENT ON COLUMN {schema}.species_coverage.tile_id IS 'Tile of the cell; name it, or join on it, and only its partition is read';
COMMENT ON COLUMN {schema}.species_coverage.cell_id IS 'Reporting cell, see reporting_cell';
COMMENT ON COLUMN {schema}.species_coverage."taxonID" IS 'Species, see taxon';
COMMENT ON COLUMN {schema}.species_coverage.coverage IS 'Share (0..1) of the cell''s valid map cells whose species set holds the species';
COMMENT ON COLUMN {schema}.species_coverage.mean_probability IS 'Mean predicted probability (0..1) over the cell''s valid map cells';

CREATE UNLOGGED TABLE {schema}.staging (
    cell_id text COLLATE "C" NOT NULL,
    "taxonID" text COLLATE "C" NOT NULL,
    coverage real NOT NULL,
    mean_probability real NOT NULL
);
COMMENT ON TABLE {schema}.staging IS 'Rows of the tile that is being loaded; holds nothing that is meant to last.';

CREATE VIEW {schema}.species_coverage_map AS
SELECT c.geom, s.tile_id, s.cell_id, s."taxonID", t."scientificName", s.coverage, s.mean_probability, c.n_cells, c.valid_cells
FROM {schema}.species_coverage s
JOIN {schema}.reporting_cell c ON c.cell_id = s.cell_id AND c.tile_id = s.tile_id
JOIN {schema}.taxon t ON t."taxonID" = s."taxonID";
COMMENT ON VIEW {schema}.species_coverage_map IS 'For a GIS: filter by "taxonID", style by coverage. Key: cell_id and "taxonID".';

-- The loader may not create tables; these two do, as the owner, what it needs and no more.
CREATE FUNCTION {schema}.add_partition(tile text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    part text[] := regexp_match(tile, '^(\d{{1,4}})kmE(\d{{1,5}})N(\d{{1,5}})$');
    size integer := part[1];
    east integer := part[2];
    north integer := part[3];
    partition text;
BEGIN
    IF part IS NULL OR size = 0 OR east % size <> 0 OR north % size <> 0 THEN
        RAISE invalid_parameter_value USING MESSAGE = format('%L is no meta-tile id', tile);
    END IF;
    east := east - east % (8 * size);
    north := north - north % (8 * size);
    partition := format('species_coverage_%skme%sn%s', size, east, north);
    IF to_regclass(format('%I.%I', {schema_text}, partition)) IS NULL THEN
        -- Made apart and then attached, which lets readers go on; CREATE TABLE ... PARTITION OF would lock them out.
        EXECUTE format('CREATE TABLE %I.%I (LIKE {schema}.species_coverage INCLUDING ALL)', {schema_text}, partition);
        EXECUTE format(
            'ALTER TABLE {schema}.species_coverage ATTACH PARTITION %I.%I FOR VALUES IN (%s)', {schema_text}, partition,
            (SELECT string_agg(format('%L', format('%skmE%sN%s', size, x, y)), ', ')
             FROM generate_series(east, east + 7 * size, size) x, generate_series(north, north + 7 * size, size) y)
        );
    END IF;
    RETURN partition;
END $body$;
COMMENT ON FUNCTION {schema}.add_partition(text) IS 'The partition of a tile, made where it is not there.';

CREATE FUNCTION {schema}.refresh_statistics() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    ANALYZE {schema}.taxon, {schema}.meta_tile, {schema}.reporting_cell, {schema}.species_coverage;
END $body$;
COMMENT ON FUNCTION {schema}.refresh_statistics() IS 'What the planner knows of the tables; autovacuum does not do it for a partitioned one.';

REVOKE ALL ON FUNCTION {schema}.add_partition(text), {schema}.refresh_statistics() FROM PUBLIC;

-- Both may log in once an administrator gives them a password. (What is set for a role holds for who logs in as it, not for its members.)
DO $roles$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {reader_text}) THEN
        CREATE ROLE {reader} LOGIN;
        ALTER ROLE {reader} SET statement_timeout = '60s';
        ALTER ROLE {reader} SET default_transaction_read_only = on;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {loader_text}) THEN
        CREATE ROLE {loader} LOGIN;
    END IF;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE WARNING '% may not create roles; let an administrator create % and %, and grant them what this script does', current_user, {reader_text}, {loader_text};
END $roles$;

DO $grants$
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {reader_text}) THEN
        GRANT USAGE ON SCHEMA {schema} TO {reader};
        GRANT SELECT ON {schema}.release, {schema}.taxon, {schema}.meta_tile, {schema}.reporting_cell, {schema}.species_coverage,
            {schema}.species_coverage_map TO {reader};
    END IF;
    IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {loader_text}) THEN
        GRANT USAGE ON SCHEMA {schema} TO {loader};
        GRANT SELECT, INSERT ON {schema}.release TO {loader};
        GRANT SELECT, INSERT, UPDATE ON {schema}.taxon, {schema}.meta_tile TO {loader};
        GRANT SELECT, INSERT, DELETE ON {schema}.reporting_cell, {schema}.species_coverage TO {loader};
        GRANT SELECT, INSERT, TRUNCATE ON {schema}.staging TO {loader};
        GRANT EXECUTE ON FUNCTION {schema}.add_partition(text), {schema}.refresh_statistics() TO {loader};
    END IF;
END $grants$;
