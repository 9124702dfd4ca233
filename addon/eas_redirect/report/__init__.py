"""Journals and IIS logs in, figures and a page out. The only room that imports DuckDB."""
