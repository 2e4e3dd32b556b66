"""Figures, each a function of results that draws with matplotlib."""
