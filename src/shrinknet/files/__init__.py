"""Files: inspected before they are trusted, written whole or not at all."""
