"""The L²M check on numbers: laws, states, verdicts. No model and no harness is touched here."""
