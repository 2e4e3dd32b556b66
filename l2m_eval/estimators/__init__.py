"""Estimators: arrays in, estimates out. numpy and scipy only; no model, no harness."""
