// SPDX-License-Identifier: Apache-2.0
// PolicyClient: what its caller sees. How a server is found is the business of the connector, what is said of the requests, and
// rates that of the streams.
#include <chiral/client.hpp>

#include "client/connector.hpp"
#include "client/requests.hpp"
#include "client/seen_times.hpp"
#include "client/streams.hpp"
#include "client/wanted_observations.hpp"
#include "net/bearer_token.hpp"

#include <utility>

namespace chiral {

namespace {

ClientOptions checked(ClientOptions options) {
    const auto require = [](bool good, const char* option) {
        if (!good) throw std::invalid_argument(std::string("ClientOptions: ") + option + " is not positive");
    };
    require(options.connect_timeout > Duration::zero(), "connect_timeout");
    require(options.retry_interval > Duration::zero(), "retry_interval");
    require(options.request_timeout > Duration::zero(), "request_timeout");
    require(options.reset_timeout > Duration::zero(), "reset_timeout");
    require(options.max_message_bytes > 0, "max_message_bytes");
    require(options.max_queued_actions > 0, "max_queued_actions");
    if (options.busy_poll < Duration::zero() || options.busy_poll > std::chrono::seconds(1))
        throw std::invalid_argument("ClientOptions: busy_poll is negative, or more than a second");
    if (!net::is_bearer_token(options.bearer_token))  // which is itself no matter for a message
        throw std::invalid_argument(
            "ClientOptions: bearer_token has blanks or other than ASCII characters, expected visible "
            "ASCII characters");
    return options;
}

}  // namespace

struct PolicyClient::Impl {
    explicit Impl(ClientOptions opts) : options(checked(std::move(opts))) {}

    // Ends connection and streams; called with `lifecycle` held.
    void end() {
        const std::shared_ptr<client::Connection> ending = connector.release();
        observations.request_stop();  // before the connection: that it ends is no error then
        actions.request_stop();
        if (ending) ending->begin_close();
        observations.stop();
        actions.stop();
        actions.clear();  // nothing of this episode may be executed after the next connect()
        seen.clear();
        {
            const std::lock_guard lock(wanted_mutex);
            wanted_last.reset();
        }
        if (ending) ending->wait_closed();
    }

    // Notes what a caller gets of the stream, which is what the policy acts on.
    std::shared_ptr<const Observation> see(client::ObservationStream::Latest latest) {
        if (!latest.observation) return nullptr;
        {
            std::lock_guard lock(stream_seen_mutex);
            if (latest.number == stream_seen) return std::move(latest.observation);
            stream_seen = latest.number;
        }
        seen.note(*latest.observation);
        return std::move(latest.observation);
    }

    // What get_obs() wanted last, with what came of it.
    std::shared_ptr<client::WantedObservations> wanted(const Want& want) {
        const std::shared_ptr<client::Connection> connection = connector.current();
        const std::lock_guard lock(wanted_mutex);
        if (!wanted_last || !wanted_last->of(connection, want))
            wanted_last = std::make_shared<client::WantedObservations>(connection, want);
        return wanted_last;
    }

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
    const client::LogLine log{client::guarded_log(options.log)};
    client::Counters counters;
    client::SeenTimes seen;

    // Held while a connection or stream is begun or ended. connect() may hold it for ever: close() makes it let go.
    std::mutex lifecycle;
    client::Connector connector{options, log};

    std::mutex action_mutex;
    Action scratch;
    std::vector<std::uint8_t> action_message;  // memory for the next one

    std::mutex wanted_mutex;
    std::shared_ptr<client::WantedObservations> wanted_last;

    std::mutex stream_seen_mutex;
    std::uint64_t stream_seen{0};  // number of the streamed observation that `seen` has noted

    client::ObservationStream observations{log};
    client::ActionDispatch actions{options.max_queued_actions, log};
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
    const auto endpoint = client::endpoint_of(uri_, impl_->options);
    std::lock_guard lifecycle(impl_->lifecycle);
    if (connected()) return *this;
    if (impl_->connector.broken()) impl_->end();
    impl_->connector.establish(*endpoint, impl_->counters);
    return *this;
}

void PolicyClient::close() {
    std::unique_lock lifecycle(impl_->lifecycle, std::defer_lock);
    {
        const client::Connector::Abort abort(impl_->connector);
        lifecycle.lock();
    }
    impl_->end();
}

bool PolicyClient::connected() const noexcept { return impl_->connector.connected(); }

InfoMap PolicyClient::get_metadata() { return client::ask_metadata(*impl_->connector.current()); }

std::pair<Observation, InfoMap> PolicyClient::reset() {
    const std::shared_ptr<client::Connection> connection = impl_->connector.current();
    connection->require_not_asking();  // before anything that is queued is dropped
    const client::ActionDispatch::Interval interval(impl_->actions);
    std::pair<Observation, InfoMap> result;
    client::ask_reset(*connection, result.first, result.second);
    impl_->seen.note(result.first);
    return result;
}

Observation PolicyClient::get_obs() {
    Observation obs;
    get_obs(obs);
    return obs;
}

void PolicyClient::get_obs(Observation& obs) {
    client::ask_observation(*impl_->connector.current(), obs);
    impl_->seen.note(obs);
}

Observation PolicyClient::get_obs(const Want& want) {
    Observation obs;
    get_obs(obs, want);
    return obs;
}

void PolicyClient::get_obs(Observation& obs, const Want& want) {
    impl_->wanted(want)->get(obs);
    impl_->seen.note(obs);
}

std::uint64_t PolicyClient::wait_frame(const std::string& camera, std::uint64_t after, Duration timeout) {
    return impl_->connector.current()->wait_frame(camera, after, client::time_after(timeout));
}

void PolicyClient::get_camera(const std::string& name, CameraInfo& camera) {
    if (impl_->connector.current()->show(name, camera)) return impl_->seen.note(camera);
    camera.image.clear();  // what it has borrowed
    camera.depth_data.clear();
    Observation obs = get_obs();
    camera = std::move(obs[name]);
}

bool PolicyClient::reads_directly() const noexcept { return impl_->connector.reads_directly(); }

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
    client::ask_step(*impl_->connector.current(), encode, result);
    impl_->seen.note(result.obs);
}

void PolicyClient::apply_action(const Action& action) {
    const std::shared_ptr<client::Connection> connection = impl_->connector.current();
    std::vector<std::uint8_t> message;
    {
        std::lock_guard lock(impl_->action_mutex);
        message.swap(impl_->action_message);
        wire::encode_apply_action(impl_->with_times(action), Impl::one_dimensional, message);
    }
    connection->send_action(message);  // which may wait, and the lookout of this thread send another one meanwhile
    std::lock_guard lock(impl_->action_mutex);
    impl_->action_message.swap(message);
}

// ---- streams ----

void PolicyClient::start_obs_stream(double hz) {
    std::lock_guard lifecycle(impl_->lifecycle);
    impl_->observations.start(
        hz, [connection = impl_->connector.current()](Observation& obs) { client::ask_observation(*connection, obs); });
}

void PolicyClient::start_obs_stream(double hz, const Want& want) {
    std::lock_guard lifecycle(impl_->lifecycle);
    const auto wanted = std::make_shared<client::WantedObservations>(impl_->connector.current(), want);
    impl_->observations.start(hz, [wanted](Observation& obs) { wanted->get(obs); });
}

void PolicyClient::stop_obs_stream() { impl_->observations.stop(); }

std::shared_ptr<const Observation> PolicyClient::latest_obs() const { return impl_->see(impl_->observations.latest()); }

std::shared_ptr<const Observation> PolicyClient::wait_obs(const std::shared_ptr<const Observation>& previous,
                                                          Duration timeout) const {
    return impl_->see(impl_->observations.wait(previous, client::time_after(timeout)));
}

bool PolicyClient::put_action(Action action) {
    if (action.obs_timestamps.empty()) impl_->seen.attach_to(action);
    client::ActionDispatch::Message message;
    wire::encode_apply_action(action, Impl::one_dimensional, message);
    return impl_->actions.put(std::move(message));
}

bool PolicyClient::replace_actions(const Action& chunk) {
    wire::check_action(wire::RequestType::apply_action, chunk);
    Action row;
    row.N = 1;
    row.D = chunk.D;
    if (chunk.obs_timestamps.empty()) impl_->seen.attach_to(row);
    else row.obs_timestamps = chunk.obs_timestamps;
    std::deque<client::ActionDispatch::Message> messages;
    for (auto values = chunk.data.begin(); values != chunk.data.end(); values += chunk.D) {
        row.data.assign(values, values + chunk.D);
        wire::encode_apply_action(row, Impl::one_dimensional, messages.emplace_back());
    }
    return impl_->actions.replace(std::move(messages));
}

void PolicyClient::clear_actions() { impl_->actions.clear(); }

void PolicyClient::start_action_dispatch(double hz) {
    std::lock_guard lifecycle(impl_->lifecycle);
    impl_->actions.start(hz, [connection = impl_->connector.current()](client::ActionDispatch::Message& message) {
        connection->send_action(message);
    });
}

void PolicyClient::stop_action_dispatch() { impl_->actions.stop(); }

std::size_t PolicyClient::queued_actions() const noexcept { return impl_->actions.size(); }

ClientStats PolicyClient::stats() const noexcept {
    const client::Counters& counters = impl_->counters;
    return {counters.observations, counters.bytes_received, counters.actions_sent, counters.last_round_trip};
}

}  // namespace chiral
