"""Mutual-information scaling of language models, as lm-evaluation-harness tasks.

Importing this package imports nothing heavy: the interpreter's start-up passes through here
(see `l2m_eval._autoregister`).
"""

__version__ = "0.1.0"
