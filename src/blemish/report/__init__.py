"""What people and programs get to see: overlays, one HTML page, a CSV file and JSON lines."""
