"""The fault corpus: bad inputs made by code, what each must give, and the page that says so.

A module for each surface holds a list `FAULTS`, and `corpus.SURFACES` lists them: a new surface is a module and a line.
"""
