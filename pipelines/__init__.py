"""The flows: one Dask task = one (stage, key), skip what is done, write beside and rename, return a small record.

No arithmetic here: a flow calls the rooms of `geoplantnet`, which never import it.
"""
