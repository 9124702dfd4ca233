"""Journals and IIS logs in, figures and a page out. The only room that imports DuckDB.

Begin with `figures.py`, which makes a `Report` (`report_values.py`); `store.py` reads the lines
that `lines.py` describes, and `page.py` and `exports.py` show the figures.
"""
