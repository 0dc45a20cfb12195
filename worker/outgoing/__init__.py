"""What keypool sends to others: endpoints, deliveries, and the posting of them.

Enters: rendering and sending. What is to be sent is a row that whoever causes it writes.
"""
