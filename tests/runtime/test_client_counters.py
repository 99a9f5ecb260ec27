"""anvil's arithmetic: connections, rates per time unit, bounded memory."""

from posthouse.runtime.client_counters import ClientCounters


def test_connections_are_counted_per_service_and_client() -> None:
    counters = ClientCounters(60, 100)
    assert counters.connect("smtp", "192.0.2.1", 0) == (1, 1)
    assert counters.connect("smtp", "192.0.2.1", 1) == (2, 2)
    assert counters.connect("smtp", "192.0.2.2", 1) == (1, 1)
    assert counters.connect("imap", "192.0.2.1", 1) == (1, 1)
    counters.disconnect("smtp", "192.0.2.1")
    assert counters.connect("smtp", "192.0.2.1", 2) == (2, 3)


def test_a_rate_begins_anew_with_the_first_event_after_its_time_unit() -> None:
    counters = ClientCounters(60, 100)
    assert counters.event("smtp", "192.0.2.1", "message", 0)[1] == 1
    assert counters.event("smtp", "192.0.2.1", "message", 59)[1] == 2
    assert counters.event("smtp", "192.0.2.1", "message", 60)[1] == 1
    assert counters.event("smtp", "192.0.2.1", "recipient", 60)[1] == 1


def test_a_disconnect_without_a_connection_counts_nothing() -> None:
    counters = ClientCounters(60, 100)
    counters.disconnect("smtp", "192.0.2.1")
    counters.connect("smtp", "192.0.2.1", 0)
    counters.disconnect("smtp", "192.0.2.1")
    counters.disconnect("smtp", "192.0.2.1")
    assert counters.connect("smtp", "192.0.2.1", 0) == (1, 2)


def test_memory_is_bounded_and_open_connections_are_kept_longest() -> None:
    counters = ClientCounters(60, 10)
    counters.connect("smtp", "stays", 0)
    for number in range(100):
        counters.event("smtp", f"192.0.2.{number}", "message", number)
    assert len(counters) == 10
    assert counters.connect("smtp", "stays", 100)[0] == 2


def test_idle_clients_are_forgotten() -> None:
    counters = ClientCounters(60, 100)
    counters.connect("smtp", "192.0.2.1", 0)
    counters.disconnect("smtp", "192.0.2.1")
    counters.connect("smtp", "192.0.2.2", 0)
    counters.expire(59)
    assert len(counters) == 2
    counters.expire(60)
    assert len(counters) == 1


def test_peaks_name_who_and_when() -> None:
    counters = ClientCounters(60, 100)
    for at in range(3):
        counters.connect("smtp", "192.0.2.1", at)
    peak = counters.peaks["connection rate"]
    assert (peak.value, peak.who, peak.at_s) == (3, "smtp:192.0.2.1", 2)
