"""Owner of accounts: the directory, password schemes, tickets. Only the auth service and account commands import it."""
