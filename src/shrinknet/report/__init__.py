"""The page of a run: one HTML file with tables, charts and pictures."""

from shrinknet.report.page import write_page

__all__ = ["write_page"]
