"""What cleanup does to a message before the queue."""
