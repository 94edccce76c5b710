"""The report of a run: one HTML file for people, made from the files of the run directory alone."""
