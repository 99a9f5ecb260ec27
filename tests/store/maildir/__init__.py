"""What is special about Maildir++."""
