"""The languages of main.cf, master.cf and dovecot.conf; every parameter declared once."""
