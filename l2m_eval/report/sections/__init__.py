"""Sections of a report's page: a table, figures and sentences on one question."""
