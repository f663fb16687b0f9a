"""What several studies train and record."""
