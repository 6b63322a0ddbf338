// SPDX-License-Identifier: Apache-2.0
#include "options.hpp"

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <functional>
#include <map>
#include <string>

namespace chiral::python {
namespace {

template <class Options>
using Setters = std::map<std::string, std::function<void(Options&, nb::handle)>>;

template <class Options, class Value>
auto plain(Value Options::*member) {
    return [member](Options& options, nb::handle value) { options.*member = nb::cast<Value>(value); };
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
        {"local_users", [](Server& o, nb::handle v) { o.access.local.users = nb::cast<std::vector<unsigned>>(v); }},
        {"local_observers", [](Server& o, nb::handle v) { o.access.local.max_observers = nb::cast<int>(v); }},
        {"wants", [](Server& o, nb::handle v) { apply(want_setters(), nb::cast<nb::dict>(v), o.wants, "wants"); }},
        {"bearer_token", [](Server& o, nb::handle v) { o.access.bearer_token = nb::cast<std::string>(v); }},
        {"allowed_origins",
         [](Server& o, nb::handle v) { o.access.allowed_origins = nb::cast<std::vector<std::string>>(v); }},
        {"tls_certificate_file", [](Server& o, nb::handle v) { o.access.tls_certificate_file = nb::cast<std::string>(v); }},
        {"tls_private_key_file", [](Server& o, nb::handle v) { o.access.tls_private_key_file = nb::cast<std::string>(v); }},
        {"gate", [](Server& o, nb::handle v) { apply(gate_setters(), nb::cast<nb::dict>(v), o.gate, "gate"); }},
        {"zenoh",
         [](Server& o, nb::handle v) { apply(zenoh_setters(), nb::cast<nb::dict>(v), o.zenoh.emplace(), "zenoh"); }},
        {"proprio_history", [](Server& o, nb::handle v) { o.engine.proprio_history = nb::cast<std::size_t>(v); }},
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
        {"max_message_bytes", plain(&Client::max_message_bytes)},
        {"max_queued_actions", plain(&Client::max_queued_actions)},
        {"bearer_token", plain(&Client::bearer_token)},
        {"tls_ca_file", plain(&Client::tls_ca_file)},
        {"tls_verify", plain(&Client::tls_verify)},
        {"zenoh_config_file", plain(&Client::zenoh_config_file)},
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
