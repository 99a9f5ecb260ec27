"""Processes: as whom they run, how many there are, how they are stopped and replaced.

Postfix's names where Postfix has one. The users are one per row of the process table, so that each process can be
kept from the files and the memory of the others.
"""

from typing import Final

from posthouse.config.parameter import Param, boolean, declare, duration, integer, one_of, text, words

# ── users ───────────────────────────────────────────────────────────────────────────────────────────────────────────

CONTROL_USER: Final = declare(
    Param("control_user", text, "ph-control", "The system user of the process that writes the log and counts clients.")
)
AUTH_USER: Final = declare(
    Param("auth_user", text, "ph-auth", "The system user of the process that alone reads the account database.")
)
TABLES_USER: Final = declare(
    Param("tables_user", text, "ph-tables", "The system user of the process that opens lookup tables for the others.")
)
MAIL_OWNER: Final = declare(
    Param("mail_owner", text, "ph-queue", "The system user that owns the queue and the process working on it.")
)
VIRTUAL_USER: Final = declare(
    Param("virtual_user", text, "vmail", "The system user that owns the mailboxes of users without a system account.")
)
LOCAL_USER: Final = declare(
    Param(
        "local_user",
        text,
        "root",
        "The system user of the parent of local delivery; it becomes each recipient, so nobody but root will do.",
    )
)
SMTP_USER: Final = declare(
    Param("smtp_user", text, "ph-smtp", "The system user of the processes that speak to other mail servers.")
)
SMTPD_USER: Final = declare(
    Param("smtpd_user", text, "ph-smtpd", "The system user of the processes that receive mail from the network.")
)
LOGIN_USER: Final = declare(
    Param(
        "login_user",
        text,
        "ph-login",
        "The system user of the processes that IMAP and POP3 clients reach before login.",
    )
)

# ── directories ─────────────────────────────────────────────────────────────────────────────────────────────────────

RUN_DIRECTORY: Final = declare(
    Param("run_directory", text, "/run/posthouse", "Where the sockets between processes and the pid file are.")
)

# ── the log ─────────────────────────────────────────────────────────────────────────────────────────────────────────

SYSLOG_NAME: Final = declare(
    Param(
        "syslog_name",
        text,
        "${multi_instance_name?{$multi_instance_name}:{postfix}}",
        "The word in front of each service's name in the log; log analysers expect Postfix's own.",
    )
)
SYSLOG_FACILITY: Final = declare(
    Param("syslog_facility", text, "mail", "The syslog facility of the log, when it goes to syslog.")
)
MAILLOG_FILE: Final = declare(
    Param(
        "maillog_file",
        text,
        "",
        "The log file: a path, /dev/stdout, or empty for syslog. Errors also go to the file of the same name in .err.",
    )
)
MAILLOG_FILE_PREFIXES: Final = declare(
    Param(
        "maillog_file_prefixes",
        words,
        "/var, /dev/stdout",
        "What maillog_file may begin with, so that a slip of the pen does not overwrite a system file.",
    )
)
MAILLOG_FILE_PERMISSIONS: Final = declare(
    Param("maillog_file_permissions", text, "0600", "The mode of a log file that is made here (octal).")
)
MAILLOG_FILE_ROTATE_SUFFIX: Final = declare(
    Param(
        "maillog_file_rotate_suffix",
        text,
        "%Y%m%d-%H%M%S",
        'What "posthouse logrotate" appends to the name of the old log file (a strftime format).',
    )
)
MAILLOG_FILE_COMPRESSOR: Final = declare(
    Param("maillog_file_compressor", text, "gzip", 'The command that "posthouse logrotate" runs on the old log file.')
)

# ── counters (anvil) ────────────────────────────────────────────────────────────────────────────────────────────────

ANVIL_RATE_TIME_UNIT: Final = declare(
    Param("anvil_rate_time_unit", duration, "60s", "The time over which client rates are counted.", minimum=1)
)
ANVIL_STATUS_UPDATE_TIME: Final = declare(
    Param("anvil_status_update_time", duration, "600s", "How often the highest client counts are logged.", minimum=1)
)
ANVIL_CLIENT_LIMIT: Final = declare(
    Param(
        "anvil_client_limit",
        integer,
        "100000",
        "Clients whose counters are kept; beyond it the one unseen for longest is forgotten (all take about 50 MB).",
        minimum=1000,
    )
)

# ── processes ───────────────────────────────────────────────────────────────────────────────────────────────────────

PER_CORE_PROCESS_LIMIT: Final = declare(
    Param(
        "per_core_process_limit",
        integer,
        "16",
        "The most workers of a service that has one per core; beyond 16 the queue is the narrow place.",
        minimum=1,
        maximum=256,
    )
)
PROCESS_SCHEDULING: Final = declare(
    Param(
        "process_scheduling",
        one_of("batch", "normal"),
        "batch",
        "With batch, a process that is woken waits until the one that woke it has done its turn: fewer switches, more "
        "mail per turn (sched(7)). Programs that local delivery runs are not affected.",
    )
)
JAIL_PROCESSES: Final = declare(
    Param(
        "jail_processes",
        boolean,
        "yes",
        "Whether processes give up the rights they do not need (Landlock, seccomp); no is for debugging only.",
    )
)
MAIL_STORE_DIRECTORIES: Final = declare(
    Param(
        "mail_store_directories",
        words,
        "",
        "Directories with mailboxes beside those that virtual_mailbox_base, mail_home and mail_location name.",
    )
)
PROCESS_START_LIMIT: Final = declare(
    Param(
        "process_start_time_limit",
        duration,
        "60s",
        "How long a process may take until it is ready; recovery of a large queue is the slowest.",
        minimum=1,
    )
)
PROCESS_STOP_LIMIT: Final = declare(
    Param(
        "process_stop_time_limit",
        duration,
        "10s",
        "How long a process may take to stop in order, before it is killed.",
        minimum=1,
    )
)
PROCESS_DRAIN_LIMIT: Final = declare(
    Param(
        "process_drain_time_limit",
        duration,
        "1h",
        "How long sessions of a process that was replaced at reload may go on.",
        minimum=0,
    )
)
SERVICE_THROTTLE_TIME: Final = declare(
    Param(
        "service_throttle_time",
        duration,
        "60s",
        "The longest pause before a process that keeps dying is started again; pauses double up to it.",
        minimum=1,
    )
)
