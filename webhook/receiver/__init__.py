"""The receiver: verify, record, enqueue, answer.

Enters: the steps of a signed message into the inbox. Keys are judged by the worker, never here.
"""
