"""Text files and zip archives, read and written all or nothing."""
