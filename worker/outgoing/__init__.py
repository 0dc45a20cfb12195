"""What goes out: webhooks to endpoints, and mails; the outbox of both, sent with retries.

Enters: rendering and sending. The rows of the outbox are written with the change itself: deliveries by
triggers, messages through `database.outbox`.
"""
