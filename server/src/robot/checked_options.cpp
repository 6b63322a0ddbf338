// SPDX-License-Identifier: Apache-2.0
#include "robot/checked_options.hpp"

#include "net/bearer_token.hpp"
#include "net/zenoh_keys.hpp"
#include "robot/action_gate.hpp"
#include "robot/observation_source.hpp"

#include <algorithm>
#include <chrono>
#include <concepts>
#include <stdexcept>
#include <string>
#include <utility>

namespace chiral::robot {
namespace {

std::string number(std::integral auto value) { return std::to_string(value); }
std::string number(double value) { return std::to_string(value); }
std::string number(Duration value) { return std::to_string(value.count()) + " ns"; }

void require(bool sensible, const char* option, const std::string& got, const std::string& expected) {
    if (!sensible)
        throw std::invalid_argument(std::string("chiral::ServerOptions: ") + option + " is " + got + ", expected " +
                                    expected);
}

// Far enough for "for ever", and the sum with the present time fits.
Duration bounded(Duration timeout) { return std::min<Duration>(timeout, std::chrono::hours(24 * 365)); }

Duration checked_timeout(const char* option, Duration timeout) {
    require(timeout > Duration::zero(), option, number(timeout), "more than zero");
    return bounded(timeout);
}

Duration checked_or_zero(const char* option, Duration timeout) {
    require(timeout >= Duration::zero(), option, number(timeout), "zero or more");
    return bounded(timeout);
}

void check_counts(const ServerOptions& options) {
    require(options.max_message_bytes > 0, "max_message_bytes", number(options.max_message_bytes), "at least 1");
    require(options.max_queued_actions > 0, "max_queued_actions", number(options.max_queued_actions), "at least 1");
    require(options.max_queued_action_bytes > 0, "max_queued_action_bytes", number(options.max_queued_action_bytes),
            "at least 1");
    constexpr int most = 14 - ObservationSource::kReaders;
    require(options.max_observers >= 0 && options.max_observers <= most, "max_observers", number(options.max_observers),
            "0 to " + number(most));
    const LocalAccess& local = options.access.local;
    require(local.max_observers >= 0 && local.max_observers <= most, "access.local.max_observers",
            number(local.max_observers), "0 to " + number(most));
    require(local.direct_readers >= 0 && local.direct_readers <= kMostGuests, "access.local.direct_readers",
            number(local.direct_readers), "0 to " + number(kMostGuests));
    require(local.direct_readers == 0 || !options.engine.now, "access.local.direct_readers",
            number(local.direct_readers) + " with a clock of the engine's own",
            "0, as clients would not know how old an image is");
    const int free = most - seats_of(options).readers() - kGuestPins * guests_of(options);
    require(free >= 0, "max_observers", number(options.max_observers) + " beside clients on the same machine",
            number(-free) + " less, because each of those, and each direct reader, takes " +
                number(ObservationSource::kMostHeld) + " readers");
    require(options.engine.readers >= 0 && options.engine.readers <= free, "engine.readers", number(options.engine.readers),
            "0 to " + number(free) + " beside the observers");
    require(!local.only || !options.local_socket.empty(), "access.local.only", "true without a local_socket",
            "a path for that");
    require(local.max_connections_per_user > 0, "access.local.max_connections_per_user",
            number(local.max_connections_per_user), "at least 1");
    require(options.max_observer_hz >= 1e-3 && options.max_observer_hz <= 1e6, "max_observer_hz",
            number(options.max_observer_hz), "0.001 to 1000000");
    require(options.max_messages_per_second > 0 && options.max_messages_per_second <= 1'000'000'000,
            "max_messages_per_second", number(options.max_messages_per_second), "1 to 1000000000");
    require(options.wants.threads >= 1 && options.wants.threads <= 64, "wants.threads", number(options.wants.threads),
            "1 to 64");
    require(options.wants.max_bytes > 0, "wants.max_bytes", number(options.wants.max_bytes), "at least 1");
    require(options.max_connections > 0, "max_connections", number(options.max_connections), "at least 1");
    require(options.control_rate_hz == 0.0 || (options.control_rate_hz >= 1e-3 && options.control_rate_hz <= 1e6),
            "control_rate_hz", number(options.control_rate_hz), "0 (none) or 0.001 to 1000000");
}

void check_access(const AccessOptions& access) {
    require(access.tls_certificate_file.empty() == access.tls_private_key_file.empty(), "access",
            "only one of the TLS files", "tls_certificate_file and tls_private_key_file, or neither");
    require(net::is_bearer_token(access.bearer_token), "access.bearer_token",
            "a token with blanks or other than ASCII characters", "visible ASCII characters");
}

void check_zenoh(ServerOptions& options) {
    if (!options.zenoh) return;
    ZenohOptions& zenoh = *options.zenoh;
    require(zenoh.port >= 0 && zenoh.port <= 65535, "zenoh.port", number(zenoh.port), "0 to 65535");
    net::check_zenoh_prefix(zenoh.prefix);
    require(zenoh.stream_hz == 0.0 || (zenoh.stream_hz >= 1e-3 && zenoh.stream_hz <= 1000.0), "zenoh.stream_hz",
            number(zenoh.stream_hz), "0 (none) or 0.001 to 1000");
    require(zenoh.stream_hz == 0.0 || options.max_observers > 0, "zenoh.stream_hz", number(zenoh.stream_hz),
            "0 (none) where max_observers is 0: what is published takes one of their seats");
    zenoh.silence = checked_timeout("zenoh.silence", zenoh.silence);
    zenoh.stalled_timeout = checked_timeout("zenoh.stalled_timeout", zenoh.stalled_timeout);
}

void complete_times(ServerOptions& options) {
    options.max_action_delay = checked_or_zero("max_action_delay", options.max_action_delay);
    options.departed_action_time = checked_or_zero("departed_action_time", options.departed_action_time);
    options.action_timeout = checked_or_zero("action_timeout", options.action_timeout);
    options.idle_timeout = checked_or_zero("idle_timeout", options.idle_timeout);
    options.deaf_timeout = checked_timeout("deaf_timeout", options.deaf_timeout);
    options.handshake_timeout = checked_timeout("handshake_timeout", options.handshake_timeout);
    options.heartbeat_timeout = checked_timeout("heartbeat_timeout", options.heartbeat_timeout);
    require(options.heartbeat_timeout >= std::chrono::milliseconds(10), "heartbeat_timeout",
            number(options.heartbeat_timeout), "at least 10 ms");
}

}  // namespace

ObservationSource::Seats seats_of(const ServerOptions& options) noexcept {
    const bool local = !options.local_socket.empty();
    return {options.max_observers, local ? options.access.local.max_observers : 0, local};
}

int guests_of(const ServerOptions& options) noexcept {
    return options.local_socket.empty() ? 0 : options.access.local.direct_readers;
}

ServerOptions checked(ServerOptions options, const std::vector<CameraConfig>& cameras, Log& log) {
    check_counts(options);
    check_access(options.access);
    ActionGate(options.gate, cameras);  // throws if its options make no sense
    complete_times(options);
    check_zenoh(options);
    options.log = [&log](const std::string& line) { log.say(line); };
    return options;
}

}  // namespace chiral::robot
