"""A function over many items, in worker processes of this machine or of a Dask cluster."""
