"""keypool's domain, and the only code that changes the database."""
