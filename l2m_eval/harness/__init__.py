"""Everything that plugs into lm-evaluation-harness or differs between its releases."""
