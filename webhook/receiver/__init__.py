"""The receiver: verify, record, enqueue, answer.

Enters: what a signed message passes on its way into the inbox. No question about keys is answered here.
"""
