"""Several hosts: keypool as compose.yaml has it, each part in a network namespace of its own.

The lines between them are cut as networks cut them: packets vanish, and nobody is told.
"""
