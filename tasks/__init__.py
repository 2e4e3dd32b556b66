"""The task files. A package, so that the entry point of the group ``lm_eval.tasks`` can name this folder."""
