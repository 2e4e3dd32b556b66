"""Experiments that train models: the paper's synthetic one, by presets in YAML.

``plan`` says what is trained on what, ``models`` builds it, ``training`` trains it, ``divergence`` measures KL
against the exact process, ``figures`` draws, ``synthetic`` does all of it and resumes where it was cut off.
"""
