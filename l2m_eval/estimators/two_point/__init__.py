"""Two-point mutual information: pairs of tokens counted, nulls subtracted, the decay fitted."""
