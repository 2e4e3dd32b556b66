"""Measurements: the request to a model for one document, and the curves computed from all documents."""
