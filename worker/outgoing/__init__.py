"""Outgoing webhooks: endpoints, the outbox of deliveries, and posting them with retries.

Enters: rendering and sending. The rows of the outbox are written by triggers, with the change itself.
"""
