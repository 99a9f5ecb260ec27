"""One module per command: reads its arguments, carries it out, answers. The table is `access.imap.commands`."""
