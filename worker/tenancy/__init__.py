"""Who may do what, and in which organizations: organizations, actors, users, tokens, secrets, history.

Enters: what limits an act to an actor and their organizations, and what records it.
"""
