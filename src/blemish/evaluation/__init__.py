"""Judge detectors as a researcher would: protocols and metrics, the paper's own numbers, tables and figures.

Needs the ``learn`` extra (scikit-learn, matplotlib); never torch. Scores and maps come in, numbers and pictures go out.
"""
