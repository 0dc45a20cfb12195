"""The lake: closed months of the report's facts as Parquet files, partitioned by organization and month.

Enters: facts by their ids, read through schema "report". No file has personal data or free text.
"""

from worker.reporting.lake import building, checking

__all__ = ["building", "checking"]
