"""Who somebody is: passdb, userdb, directory, password schemes."""
