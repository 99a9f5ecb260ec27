"""What `store.interface` promises, asked of every backend."""
