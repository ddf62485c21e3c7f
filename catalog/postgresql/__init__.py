"""A catalog in a PostgreSQL database."""
