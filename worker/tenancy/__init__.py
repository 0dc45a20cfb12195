"""Who may do what, and where: organizations, actors, users, tokens, secrets, history.

Enters: what bounds an act to somebody and their organizations, and what remembers it.
"""
