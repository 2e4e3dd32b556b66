"""The command ``l2m-eval``: one module for each of its commands."""
