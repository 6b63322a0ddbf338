// SPDX-License-Identifier: Apache-2.0
#include "options.hpp"

#include <nanobind/stl/map.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <functional>
#include <map>
#include <memory>
#include <string>

namespace chiral::python {
namespace {

template <class Options>
using Setters = std::map<std::string, std::function<void(Options&, nb::handle)>>;

template <class Options, class Value>
auto plain(Value Options::*member) {
    return [member](Options& options, nb::handle value) { options.*member = nb::cast<Value>(value); };
}

// Called on a thread of the log, which holds no GIL and may be the last to know the callable.
std::function<void(const std::string&)> line_taker(nb::handle callable) {
    const std::shared_ptr<Grave> taker(new Grave{callable.inc_ref().ptr(), nullptr, [](Grave* grave) { delete grave; }},
                                       [](Grave* grave) { bury(*grave); });
    return [taker](const std::string& line) {
        with_gil([&] {
            const nb::object text =
                nb::steal(PyUnicode_DecodeUTF8(line.data(), static_cast<Py_ssize_t>(line.size()), "backslashreplace"));
            call_python(taker->object, "__call__", {text});
        });
    };
}

template <class Options>
auto seconds(Duration Options::*member) {
    return [member](Options& options, nb::handle value) { options.*member = to_duration(nb::cast<double>(value)); };
}

GatePolicy policy_named(const std::string& name) {
    if (name == "accept") return GatePolicy::accept;
    if (name == "clamp") return GatePolicy::clamp;
    if (name == "reject") return GatePolicy::reject;
    throw nb::value_error(("gate: '" + name + "' came, expected 'accept', 'clamp' or 'reject'").c_str());
}

auto policy(GatePolicy ActionGateOptions::*member) {
    return
        [member](ActionGateOptions& gate, nb::handle value) { gate.*member = policy_named(nb::cast<std::string>(value)); };
}

template <class Options>
void apply(const Setters<Options>& setters, const nb::dict& given, Options& options, const char* what) {
    for (const auto& [key, value] : given) {
        const std::string name = nb::cast<std::string>(key);
        const auto setter = setters.find(name);
        if (setter == setters.end()) {
            std::string known;
            for (const auto& [known_name, unused] : setters) known += (known.empty() ? "" : ", ") + known_name;
            throw nb::type_error((std::string(what) + ": unknown option '" + name + "'; there are: " + known).c_str());
        }
        try {
            setter->second(options, value);
        } catch (const nb::cast_error&) {
            const std::string type = nb::cast<std::string>(nb::handle(value.type()).attr("__name__"));
            throw nb::type_error(
                (std::string(what) + ": option '" + name + "' does not take a value of type " + type).c_str());
        }
    }
}

const Setters<ActionGateOptions>& gate_setters() {
    using Gate = ActionGateOptions;
    static const Setters<Gate> setters{
        {"dimension", plain(&Gate::dimension)},
        {"max_chunk", plain(&Gate::max_chunk)},
        {"lower", plain(&Gate::lower)},
        {"upper", plain(&Gate::upper)},
        {"outside_limits", policy(&Gate::outside_limits)},
        {"max_step", plain(&Gate::max_step)},
        {"too_large_step", policy(&Gate::too_large_step)},
        {"max_observation_age", seconds(&Gate::max_observation_age)},
        {"max_camera_age",
         [](Gate& gate, nb::handle ages) {
             for (const auto& [camera, age] : nb::cast<std::map<std::string, double>>(ages))
                 gate.max_camera_age[camera] = to_duration(age);
         }},
        {"future_tolerance", seconds(&Gate::future_tolerance)},
        {"stale", policy(&Gate::stale)},
    };
    return setters;
}

const Setters<WantOptions>& want_setters() {
    using Wants = WantOptions;
    static const Setters<Wants> setters{
        {"threads", plain(&Wants::threads)},
        {"max_bytes", plain(&Wants::max_bytes)},
        {"max_kept_bytes", plain(&Wants::max_kept_bytes)},
    };
    return setters;
}

const Setters<ZenohOptions>& zenoh_setters() {
    using Zenoh = ZenohOptions;
    static const Setters<Zenoh> setters{
        {"only", plain(&Zenoh::only)},           {"listen", plain(&Zenoh::listen)},
        {"port", plain(&Zenoh::port)},           {"connect", plain(&Zenoh::connect)},
        {"prefix", plain(&Zenoh::prefix)},       {"config_file", plain(&Zenoh::config_file)},
        {"silence", seconds(&Zenoh::silence)},   {"stalled_timeout", seconds(&Zenoh::stalled_timeout)},
        {"stream_hz", plain(&Zenoh::stream_hz)}, {"publish_metrics", plain(&Zenoh::publish_metrics)},
    };
    return setters;
}

const Setters<ServerOptions>& server_setters() {
    using Server = ServerOptions;
    static const Setters<Server> setters{
        {"max_message_bytes", plain(&Server::max_message_bytes)},
        {"max_queued_actions", plain(&Server::max_queued_actions)},
        {"max_queued_action_bytes", plain(&Server::max_queued_action_bytes)},
        {"max_action_delay", seconds(&Server::max_action_delay)},
        {"departed_action_time", seconds(&Server::departed_action_time)},
        {"control_rate_hz", plain(&Server::control_rate_hz)},
        {"deaf_timeout", seconds(&Server::deaf_timeout)},
        {"handshake_timeout", seconds(&Server::handshake_timeout)},
        {"idle_timeout", seconds(&Server::idle_timeout)},
        {"heartbeat_timeout", seconds(&Server::heartbeat_timeout)},
        {"action_timeout", seconds(&Server::action_timeout)},
        {"max_messages_per_second", plain(&Server::max_messages_per_second)},
        {"max_connections", plain(&Server::max_connections)},
        {"allow_takeover", plain(&Server::allow_takeover)},
        {"max_observers", plain(&Server::max_observers)},
        {"max_observer_hz", plain(&Server::max_observer_hz)},
        {"local_socket", plain(&Server::local_socket)},
        {"local_only", [](Server& o, nb::handle v) { o.access.local.only = nb::cast<bool>(v); }},
        {"local_users", [](Server& o, nb::handle v) { o.access.local.users = nb::cast<std::vector<unsigned>>(v); }},
        {"local_connections_per_user",
         [](Server& o, nb::handle v) { o.access.local.max_connections_per_user = nb::cast<std::size_t>(v); }},
        {"local_observers", [](Server& o, nb::handle v) { o.access.local.max_observers = nb::cast<int>(v); }},
        {"local_direct_readers", [](Server& o, nb::handle v) { o.access.local.direct_readers = nb::cast<int>(v); }},
        {"wants", [](Server& o, nb::handle v) { apply(want_setters(), nb::cast<nb::dict>(v), o.wants, "wants"); }},
        {"bearer_token", [](Server& o, nb::handle v) { o.access.bearer_token = nb::cast<std::string>(v); }},
        {"allowed_origins",
         [](Server& o, nb::handle v) { o.access.allowed_origins = nb::cast<std::vector<std::string>>(v); }},
        {"tls_certificate_file", [](Server& o, nb::handle v) { o.access.tls_certificate_file = nb::cast<std::string>(v); }},
        {"tls_private_key_file", [](Server& o, nb::handle v) { o.access.tls_private_key_file = nb::cast<std::string>(v); }},
        {"gate", [](Server& o, nb::handle v) { apply(gate_setters(), nb::cast<nb::dict>(v), o.gate, "gate"); }},
        {"zenoh",
         [](Server& o, nb::handle v) { apply(zenoh_setters(), nb::cast<nb::dict>(v), o.zenoh.emplace(), "zenoh"); }},
        {"log", [](Server& o, nb::handle v) { o.log = line_taker(v); }},
        {"proprio_history", [](Server& o, nb::handle v) { o.engine.proprio_history = nb::cast<std::size_t>(v); }},
        {"lock_memory", [](Server& o, nb::handle v) { o.engine.lock_memory = nb::cast<bool>(v); }},
        {"huge_pages", [](Server& o, nb::handle v) { o.engine.huge_pages = nb::cast<bool>(v); }},
        {"verify_pins", [](Server& o, nb::handle v) { o.engine.verify_pins = nb::cast<bool>(v); }},
        {"camera_frozen_after", [](Server& o, nb::handle v) { o.engine.camera_frozen_after = nb::cast<std::uint64_t>(v); }},
        {"proprio_frozen_after",
         [](Server& o, nb::handle v) { o.engine.proprio_frozen_after = nb::cast<std::uint64_t>(v); }},
        {"capture_ahead_tolerance",
         [](Server& o, nb::handle v) { o.engine.capture_ahead_tolerance = to_duration(nb::cast<double>(v)); }},
        {"camera_stale_after",
         [](Server& o, nb::handle v) { o.engine.camera_stale_after = to_duration(nb::cast<double>(v)); }},
        {"proprio_stale_after",
         [](Server& o, nb::handle v) { o.engine.proprio_stale_after = to_duration(nb::cast<double>(v)); }},
    };
    return setters;
}

const Setters<ClientOptions>& client_setters() {
    using Client = ClientOptions;
    static const Setters<Client> setters{
        {"connect_timeout", seconds(&Client::connect_timeout)},
        {"retry_interval", seconds(&Client::retry_interval)},
        {"request_timeout", seconds(&Client::request_timeout)},
        {"busy_poll", seconds(&Client::busy_poll)},
        {"reset_timeout", seconds(&Client::reset_timeout)},
        {"max_message_bytes", plain(&Client::max_message_bytes)},
        {"max_queued_actions", plain(&Client::max_queued_actions)},
        {"bearer_token", plain(&Client::bearer_token)},
        {"tls_ca_file", plain(&Client::tls_ca_file)},
        {"tls_verify", plain(&Client::tls_verify)},
        {"zenoh_config_file", plain(&Client::zenoh_config_file)},
        {"log", [](Client& o, nb::handle v) { o.log = line_taker(v); }},
    };
    return setters;
}

}  // namespace

ServerOptions server_options(const nb::dict& given) {
    ServerOptions options;
    apply(server_setters(), given, options, "PolicyServer");
    return options;
}

ClientOptions client_options(const nb::dict& given) {
    ClientOptions options;
    apply(client_setters(), given, options, "PolicyClient");
    return options;
}

}  // namespace chiral::python
