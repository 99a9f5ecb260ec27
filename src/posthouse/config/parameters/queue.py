"""Journal, queue manager, bounces, pickup."""
