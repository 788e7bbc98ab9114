"""What a run looks like: one HTML page with its tables, charts and pictures."""

from shrinknet.report.page import write_page

__all__ = ["write_page"]
