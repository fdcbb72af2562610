"""Seeded models of tiny width, exported as people export them, with the answers that a reference gives."""
