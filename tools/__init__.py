"""What makes the release and the pages. Not installed, not imported by the service."""
