"""`make scale`: what reports ask of the lake, asked of DuckDB and of Spark on a cluster of two workers."""
