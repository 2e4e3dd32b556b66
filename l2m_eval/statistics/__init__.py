"""Statistics of estimates from documents that are not independent. numpy and scipy only."""
