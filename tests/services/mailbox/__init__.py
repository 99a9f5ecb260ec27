"""The mailbox process with real sockets; queue, auth and login are the test's."""
