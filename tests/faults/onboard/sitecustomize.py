"""Python imports this at its start, where PYTHONPATH names this folder: so the harness gets aboard."""

from tests.faults import points

points.come_aboard()
