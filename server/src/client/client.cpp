// SPDX-License-Identifier: Apache-2.0
// PolicyClient: opens and closes connections, and decides what goes over them. Waiting for answers is the business of
// ClientConnection, rates that of the streams.
#include <chiral/client.hpp>

#include "client/connection.hpp"
#include "client/streams.hpp"
#include "client/tls.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

namespace chiral {

namespace {

// RFC 6455 section 7.4.1.
constexpr std::uint16_t protocol_error = 1002;
constexpr std::uint16_t bad_payload = 1007;

ClientOptions checked(ClientOptions options) {
    const auto require = [](bool good, const char* option) {
        if (!good) throw std::invalid_argument(std::string("ClientOptions: ") + option + " is not positive");
    };
    require(options.connect_timeout > Duration::zero(), "connect_timeout");
    require(options.retry_interval > Duration::zero(), "retry_interval");
    require(options.request_timeout > Duration::zero(), "request_timeout");
    require(options.max_message_bytes > 0, "max_message_bytes");
    require(options.max_queued_actions > 0, "max_queued_actions");
    // A line break would smuggle header lines into the handshake. The token itself is no matter for a message.
    if (!std::all_of(options.bearer_token.begin(), options.bearer_token.end(), [](char c) { return c > 0x20 && c < 0x7f; }))
        throw std::invalid_argument(
            "ClientOptions: bearer_token has blanks or other than ASCII characters, expected visible "
            "ASCII characters");
    return options;
}

// The log of the options, which must not end a background thread.
LogLine log_of(const ClientOptions& options) {
    if (!options.log) return [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); };
    return [log = options.log](const std::string& line) {
        try {
            log(line);
        } catch (...) {}
    };
}

// The capture times of the observation that the caller saw last.
class SeenTimes {
public:
    void note(const Observation& obs) {
        std::lock_guard lock(mutex_);
        if (!update(obs)) {  // other cameras than before
            times_.clear();
            update(obs);
        }
    }
    void attach_to(Action& action) const {
        std::lock_guard lock(mutex_);
        action.obs_timestamps = times_;
    }
    void clear() {
        std::lock_guard lock(mutex_);
        times_.clear();
    }

private:
    // False if there are others in the map.
    bool update(const Observation& obs) {
        std::size_t cameras = 0;
        for (const CameraInfo& camera : obs.cameras) {
            if (!std::isfinite(camera.timestamp)) continue;
            times_[camera.name] = camera.timestamp;
            ++cameras;
        }
        return times_.size() == cameras;
    }

    mutable std::mutex mutex_;
    std::map<std::string, double> times_;
};

}  // namespace

struct PolicyClient::Impl {
    explicit Impl(ClientOptions opts) : options(checked(std::move(opts))), log(log_of(options)) {}

    // ---- connection ----

    std::shared_ptr<ClientConnection> current() const {
        std::lock_guard lock(mutex);
        if (!connection) throw ConnectionError("not connected, expected connect() to be called before");
        return connection;
    }

    // There was a connection and it has ended, but nobody has closed it.
    bool broken() const {
        std::lock_guard lock(mutex);
        return connection && connection->over();
    }

    void establish(const net::Uri& uri) {
        const TimePoint deadline = time_after(options.connect_timeout);
        std::shared_ptr<const ClientTls> tls;  // read once: the system's authorities are many
        if (uri.secure) tls = std::make_shared<const ClientTls>(options.tls_ca_file, options.tls_verify);
        std::string reason;
        for (bool told = false;; told = true) {
            const auto attempt = std::make_shared<ClientConnection>(uri, tls, options, counters);
            begin_attempt(uri, attempt);
            const auto failure = attempt->open(std::min(deadline, time_after(options.request_timeout)));

            std::unique_lock lock(mutex);
            attempting.reset();
            if (closers > 0) throw_closed(uri);
            if (!failure) {
                connection = attempt;
                return;
            }
            if (failure->final) throw ConnectionError(uri.text + ": " + failure->reason);
            // An attempt that the deadline cut short says less than the one before it.
            if (reason.empty() || Clock::now() < deadline) reason = failure->reason;
            const TimePoint next = std::min(deadline, time_after(options.retry_interval));
            if (!told) {
                lock.unlock();
                log("chiral: waiting for server at " + uri.text + " (" + failure->reason + ')');
                lock.lock();
            }
            if (closing.wait_until(lock, next, [&] { return closers > 0; })) throw_closed(uri);
            if (Clock::now() >= deadline)
                throw ConnectionError(uri.text + ": no connection after " + seconds_text(options.connect_timeout) + ": " +
                                      reason);
        }
    }
    void begin_attempt(const net::Uri& uri, const std::shared_ptr<ClientConnection>& attempt) {
        std::lock_guard lock(mutex);
        if (closers > 0) throw_closed(uri);
        attempting = attempt;
    }
    [[noreturn]] static void throw_closed(const net::Uri& uri) {
        throw ConnectionError(uri.text + ": closed by this client while it was connecting");
    }

    // Ends connection and streams; called with `lifecycle` held.
    void end() {
        std::shared_ptr<ClientConnection> ending;
        {
            std::lock_guard lock(mutex);
            ending.swap(connection);
        }
        observations.request_stop();  // before the connection: that it ends is no error then
        actions.request_stop();
        if (ending) ending->begin_close();
        observations.stop();
        actions.stop();
        actions.clear();  // nothing of this episode may be executed after the next connect()
        seen.clear();
        if (ending) ending->wait_closed();
    }

    // ---- requests ----

    using Encode = std::function<void(std::vector<std::uint8_t>&)>;
    using Use = std::function<void(wire::Response&)>;

    static void ask(ClientConnection& on, wire::RequestType type, const Encode& encode, wire::ResponseType expected,
                    Observation* obs, const Use& use = {}) {
        ClientConnection::Exchange exchange(on);
        encode(exchange.message());
        const wire::Bytes answer = exchange.perform(type, expected);
        wire::Response& response = exchange.response();
        try {
            wire::decode_response(answer, response, obs != nullptr ? *obs : response.result.obs, {}, &exchange.memory());
        } catch (const wire::DecodeError& error) {
            on.fail(bad_payload, std::string("the answer to ") + to_string(type) + " is malformed: " + error.what());
        }
        if (response.type != expected)
            on.fail(protocol_error, std::string("the server answered ") + to_string(type) + " with " +
                                        to_string(response.type) + ", expected " + to_string(expected));
        if (use) use(response);
    }

    // A request whose answer carries an observation.
    void observe(ClientConnection& on, wire::RequestType type, const Encode& encode, wire::ResponseType expected,
                 Observation& obs, const Use& use = {}) {
        TimePoint sent;
        ask(
            on, type,
            [&](std::vector<std::uint8_t>& message) {
                encode(message);
                sent = Clock::now();
            },
            expected, &obs,
            [&](wire::Response& response) {
                counters.last_round_trip = std::chrono::duration<double>(Clock::now() - sent).count();
                if (use) use(response);
            });
        ++counters.observations;
    }

    static Encode plain(wire::RequestType type) {
        return [type](std::vector<std::uint8_t>& message) { wire::encode_request(type, message); };
    }

    void get_obs(ClientConnection& on, Observation& obs) {
        observe(on, wire::RequestType::obs_request, plain(wire::RequestType::obs_request), wire::ResponseType::obs_response,
                obs);
    }

    // Notes what a caller gets of the stream, which is what the policy acts on.
    std::shared_ptr<const Observation> see(ObservationStream::Latest latest) {
        if (!latest.observation) return nullptr;
        {
            std::lock_guard lock(stream_seen_mutex);
            if (latest.number == stream_seen) return std::move(latest.observation);
            stream_seen = latest.number;
        }
        seen.note(*latest.observation);
        return std::move(latest.observation);
    }

    // ---- actions ----

    // A policy that acts on one observation at a time sends [D], which is what Python servers hand to apply_action().
    static constexpr bool one_dimensional = true;

    // The action as it is sent: with the capture times of what the caller saw last, unless it has its own. Called with
    // `action_mutex` held.
    const Action& with_times(const Action& action) {
        if (!action.obs_timestamps.empty()) return action;
        scratch.data = action.data;
        scratch.N = action.N;
        scratch.D = action.D;
        seen.attach_to(scratch);
        return scratch;
    }

    const ClientOptions options;
    const LogLine log;
    ClientCounters counters;
    SeenTimes seen;

    // Held while a connection or stream is begun or ended. connect() may hold it for ever: close() makes it let go.
    std::mutex lifecycle;

    mutable std::mutex mutex;
    std::condition_variable closing;
    int closers{0};  // calls of close() that wait for connect() to give up
    std::shared_ptr<ClientConnection> attempting;
    std::shared_ptr<ClientConnection> connection;

    std::mutex action_mutex;
    Action scratch;
    std::vector<std::uint8_t> action_message;

    std::mutex stream_seen_mutex;
    std::uint64_t stream_seen{0};  // number of the streamed observation that `seen` has noted

    ObservationStream observations{log};
    ActionDispatch actions{options.max_queued_actions, log};
};

PolicyClient::PolicyClient(std::string uri, ClientOptions options)
    : uri_(std::move(uri)), impl_(std::make_unique<Impl>(std::move(options))) {}

PolicyClient::~PolicyClient() {
    try {
        close();
    } catch (...) {  // out of memory or threads; the members' destructors end what is left
    }
}

PolicyClient& PolicyClient::connect() {
    const net::Uri uri = net::parse_uri(uri_);
    std::lock_guard lifecycle(impl_->lifecycle);
    if (connected()) return *this;
    if (impl_->broken()) impl_->end();
    impl_->establish(uri);
    return *this;
}

void PolicyClient::close() {
    std::unique_lock lifecycle(impl_->lifecycle, std::defer_lock);
    {
        std::lock_guard lock(impl_->mutex);
        ++impl_->closers;
        if (impl_->attempting) impl_->attempting->abort_open();
        impl_->closing.notify_all();
    }
    lifecycle.lock();
    {
        std::lock_guard lock(impl_->mutex);
        --impl_->closers;
    }
    impl_->end();
}

bool PolicyClient::connected() const noexcept {
    std::lock_guard lock(impl_->mutex);
    return impl_->connection && !impl_->connection->over();
}

InfoMap PolicyClient::get_metadata() {
    InfoMap metadata;
    Impl::ask(*impl_->current(), wire::RequestType::metadata, Impl::plain(wire::RequestType::metadata),
              wire::ResponseType::metadata_response, nullptr,
              [&](wire::Response& response) { metadata = std::move(response.metadata); });
    return metadata;
}

std::pair<Observation, InfoMap> PolicyClient::reset() {
    std::pair<Observation, InfoMap> result;
    impl_->observe(*impl_->current(), wire::RequestType::reset, Impl::plain(wire::RequestType::reset),
                   wire::ResponseType::reset_response, result.first,
                   [&](wire::Response& response) { result.second = std::move(response.result.info); });
    impl_->seen.note(result.first);
    return result;
}

Observation PolicyClient::get_obs() {
    Observation obs;
    get_obs(obs);
    return obs;
}

void PolicyClient::get_obs(Observation& obs) {
    impl_->get_obs(*impl_->current(), obs);
    impl_->seen.note(obs);
}

StepResult PolicyClient::step(const Action& action) {
    StepResult result;
    step(action, result);
    return result;
}

void PolicyClient::step(const Action& action, StepResult& result) {
    const auto encode = [&](std::vector<std::uint8_t>& message) {
        std::lock_guard lock(impl_->action_mutex);
        wire::encode_legacy_action(impl_->with_times(action), message);
    };
    impl_->observe(*impl_->current(), wire::RequestType::action, encode, wire::ResponseType::step_response, result.obs,
                   [&](wire::Response& response) {
                       result.reward = response.result.reward;
                       result.terminated = response.result.terminated;
                       result.truncated = response.result.truncated;
                       result.info = std::move(response.result.info);
                   });
    impl_->seen.note(result.obs);
}

void PolicyClient::apply_action(const Action& action) {
    const std::shared_ptr<ClientConnection> connection = impl_->current();
    std::lock_guard lock(impl_->action_mutex);
    wire::encode_apply_action(impl_->with_times(action), Impl::one_dimensional, impl_->action_message);
    connection->send_action(impl_->action_message);
}

// ---- streams ----

void PolicyClient::start_obs_stream(double hz) {
    std::lock_guard lifecycle(impl_->lifecycle);
    impl_->observations.start(
        hz, [impl = impl_.get(), connection = impl_->current()](Observation& obs) { impl->get_obs(*connection, obs); });
}

void PolicyClient::stop_obs_stream() { impl_->observations.stop(); }

std::shared_ptr<const Observation> PolicyClient::latest_obs() const { return impl_->see(impl_->observations.latest()); }

std::shared_ptr<const Observation> PolicyClient::wait_obs(const std::shared_ptr<const Observation>& previous,
                                                          Duration timeout) const {
    return impl_->see(impl_->observations.wait(previous, time_after(timeout)));
}

bool PolicyClient::put_action(Action action) {
    if (action.obs_timestamps.empty()) impl_->seen.attach_to(action);
    ActionDispatch::Message message;
    wire::encode_apply_action(action, Impl::one_dimensional, message);
    return impl_->actions.put(std::move(message));
}

void PolicyClient::start_action_dispatch(double hz) {
    std::lock_guard lifecycle(impl_->lifecycle);
    impl_->actions.start(
        hz, [connection = impl_->current()](ActionDispatch::Message& message) { connection->send_action(message); });
}

void PolicyClient::stop_action_dispatch() { impl_->actions.stop(); }

std::size_t PolicyClient::queued_actions() const noexcept { return impl_->actions.size(); }

ClientStats PolicyClient::stats() const noexcept {
    const ClientCounters& counters = impl_->counters;
    return {counters.observations, counters.bytes_received, counters.actions_sent, counters.last_round_trip};
}

}  // namespace chiral
