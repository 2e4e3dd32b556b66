"""Measurements: what each asks of a model for one document, and what all documents together say."""
