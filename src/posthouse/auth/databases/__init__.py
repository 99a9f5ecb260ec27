"""Where users are looked up besides the embedded directory: Dovecot's passdb and userdb drivers."""
