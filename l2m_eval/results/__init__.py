"""Saved harness results: found, read back with types, and checked."""
