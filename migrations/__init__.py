"""The catalog's schema history (Alembic). catalog/database.py runs it when a catalog is opened."""
