"""Results that people look at: figures, tables, the page, comparisons, the model-card block.

``selection`` says which results are shown together, ``figures`` draws them, ``words`` says what they show,
``comparison`` sets models against each other, ``build`` writes everything into a folder.
"""
