"""Delivery to system users: services.local and the delivery package."""

from typing import Final

from posthouse.config.parameter import Param, boolean, declare, duration, integer, size, text, words

_SAFE_CHARACTERS: Final = "1234567890!@%-_=+:,./abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

# ── where mail is put ───────────────────────────────────────────────────────────────────────────────────────────────

MAIL_SPOOL_DIRECTORY: Final = declare(
    Param(
        "mail_spool_directory",
        text,
        "/var/mail",
        "The directory of system users' mailbox files; with a slash at the end, of Maildirs named after them.",
    )
)
HOME_MAILBOX: Final = declare(
    Param(
        "home_mailbox",
        text,
        "",
        "A mailbox below the user's home instead of mail_spool_directory: a file, or a Maildir with a final slash.",
    )
)
MAILBOX_COMMAND: Final = declare(
    Param(
        "mailbox_command",
        text,
        "",
        "A command that takes every user's mail instead of a mailbox, run as the user; $NAME is left to its shell.",
        raw=True,
    )
)
MAILBOX_SIZE_LIMIT: Final = declare(
    Param(
        "mailbox_size_limit",
        size,
        "51200000",
        "The largest mailbox file in octets (and the largest single message in a Maildir); 0 means no limit.",
        minimum=0,
    )
)
MAILBOX_DELIVERY_LOCK: Final = declare(
    Param(
        "mailbox_delivery_lock",
        words,
        "fcntl, dotlock",
        "How a mailbox file is locked against other programs: any of fcntl, flock and dotlock, in Debian's order.",
    )
)
STRICT_MAILBOX_OWNERSHIP: Final = declare(
    Param(
        "strict_mailbox_ownership",
        boolean,
        "yes",
        "Whether mail waits when the mailbox file does not belong to the user.",
    )
)
REQUIRE_HOME_DIRECTORY: Final = declare(
    Param(
        "require_home_directory",
        boolean,
        "no",
        "Whether mail waits while the user's home directory does not exist (automounted homes).",
    )
)

# ── .forward ────────────────────────────────────────────────────────────────────────────────────────────────────────

FORWARD_PATH: Final = declare(
    Param(
        "forward_path",
        text,
        "$home/.forward${recipient_delimiter}${extension}, $home/.forward",
        "Files that may say where a user's mail goes instead; the first that exists counts.",
        raw=True,
    )
)
FORWARD_EXPANSION_FILTER: Final = declare(
    Param(
        "forward_expansion_filter",
        text,
        _SAFE_CHARACTERS,
        "Characters that names in forward_path may expand to; all others become underscores.",
        raw=True,
    )
)
ALLOW_MAIL_TO_COMMANDS: Final = declare(
    Param(
        "allow_mail_to_commands",
        words,
        "alias, forward",
        "Where |command is a permitted destination: any of alias, forward and include.",
    )
)
ALLOW_MAIL_TO_FILES: Final = declare(
    Param(
        "allow_mail_to_files",
        words,
        "alias, forward",
        "Where /file is a permitted destination: any of alias, forward and include.",
    )
)
FORWARD_FILE_SIZE_LIMIT: Final = declare(
    Param(
        "forward_file_size_limit",
        size,
        "64k",
        "The largest .forward or :include: file that is read; larger ones are mistakes or attacks.",
        minimum=1024,
        maximum=16 << 20,
    )
)

# ── commands ────────────────────────────────────────────────────────────────────────────────────────────────────────

DEFAULT_PRIVS: Final = declare(
    Param(
        "default_privs",
        text,
        "nobody",
        "The system user whose rights commands and files named by alias tables, or by root's .forward, get.",
    )
)
COMMAND_TIME_LIMIT: Final = declare(
    Param(
        "command_time_limit", duration, "1000s", "How long a delivery command may take before it is killed.", minimum=1
    )
)
COMMAND_OUTPUT_LIMIT: Final = declare(
    Param(
        "command_output_limit",
        size,
        "4k",
        "How much of a command's output is kept for the log and the bounce; the rest is read and thrown away.",
        minimum=80,
        maximum=1 << 20,
    )
)
LOCAL_COMMAND_SHELL: Final = declare(
    Param(
        "local_command_shell",
        text,
        "",
        "A program such as a restricted shell that runs every delivery command as its -c argument.",
    )
)
EXPORT_ENVIRONMENT: Final = declare(
    Param(
        "export_environment",
        words,
        "TZ MAIL_CONFIG LANG",
        "Names, or name=value, of the environment that delivery commands get besides the facts about the message.",
    )
)

# ── processes ───────────────────────────────────────────────────────────────────────────────────────────────────────

LOCAL_CHILD_LIMIT: Final = declare(
    Param(
        "local_child_limit",
        integer,
        "50",
        "Processes that deliver as recipients at the same time; 50 keep a machine busy while some wait for locks.",
        minimum=1,
        maximum=10_000,
    )
)
LOCAL_CHILD_IDLE_TIME: Final = declare(
    Param(
        "local_child_idle_time",
        duration,
        "10s",
        "How long a process that delivers as one recipient waits for more mail to the same user before it ends.",
        minimum=0,
    )
)
