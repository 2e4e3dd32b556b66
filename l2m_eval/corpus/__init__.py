"""Documents: where they come from, and which parts of them are measured."""
