"""Who may do what, and in which organizations: organizations, actors, users, tokens, secrets, history.

Enters: what limits a change to an actor and their organizations, and what records it.
"""
