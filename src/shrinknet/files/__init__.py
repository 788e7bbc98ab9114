"""Files: inspected before they are trusted, written completely or not at all."""
