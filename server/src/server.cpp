// SPDX-License-Identifier: Apache-2.0
// PolicyServer: construction, hooks, and the life of the network thread.
#include <chiral/server.hpp>

#include "net/bearer_token.hpp"
#include "net/log.hpp"
#include "robot/action_gate.hpp"
#include "robot/observation_source.hpp"
#include "robot/server_core.hpp"
#include "websocket/access.hpp"
#include "websocket/front_door.hpp"
#include "websocket/listener.hpp"
#include "websocket/session.hpp"
#include "websocket/tls.hpp"

#include <boost/asio/signal_set.hpp>

#include <algorithm>
#include <bit>
#include <condition_variable>
#include <csignal>
#include <exception>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <thread>

namespace chiral {

namespace asio = boost::asio;

namespace {

// Set on a thread while the default apply_action() calls step() or the other way round: a second default means that the
// subclass overrides neither.
thread_local bool one_default_used = false;

class OneDefault {
public:
    OneDefault() {
        if (one_default_used)
            throw std::logic_error("an action came, but the server overrides neither apply_action() nor step()");
        one_default_used = true;
    }
    ~OneDefault() { one_default_used = false; }
};

void require(bool sensible, const char* option, const std::string& got, const char* expected) {
    if (!sensible)
        throw std::invalid_argument(std::string("chiral::ServerOptions: ") + option + " is " + got + ", expected " +
                                    expected);
}

Duration checked_timeout(const char* option, Duration timeout) {
    require(timeout > Duration::zero(), option, std::to_string(timeout.count()) + " ns", "more than zero");
    // Far enough for "for ever", and the sum with the present time fits.
    return std::min<Duration>(timeout, std::chrono::hours(24 * 365));
}

ServerOptions completed(ServerOptions options, const std::vector<CameraConfig>& cameras, net::Log& log) {
    const auto number = [](auto value) { return std::to_string(value); };
    require(options.max_message_bytes > 0, "max_message_bytes", number(options.max_message_bytes), "at least 1");
    require(options.max_queued_actions > 0, "max_queued_actions", number(options.max_queued_actions), "at least 1");
    constexpr int kMaxReaders = 14 - ObservationSource::kReaders;
    require(options.max_observers >= 0 && options.max_observers <= kMaxReaders, "max_observers",
            number(options.max_observers), "0 to 11");
    require(options.engine.readers >= 0 && options.engine.readers <= kMaxReaders - options.max_observers, "engine.readers",
            number(options.engine.readers),
            ("0 to " + number(kMaxReaders - options.max_observers) + " beside the observers").c_str());
    require(options.max_observer_hz >= 1e-3 && options.max_observer_hz <= 1e6, "max_observer_hz",
            number(options.max_observer_hz), "0.001 to 1000000");
    require(options.max_messages_per_second > 0 && options.max_messages_per_second <= 1'000'000'000,
            "max_messages_per_second", number(options.max_messages_per_second), "1 to 1000000000");
    require(options.max_connections > 0, "max_connections", number(options.max_connections), "at least 1");
    require(options.action_timeout >= Duration::zero(), "action_timeout", number(options.action_timeout.count()) + " ns",
            "zero (never) or more");
    options.action_timeout = std::min<Duration>(options.action_timeout, std::chrono::hours(24 * 365));
    options.heartbeat_timeout = checked_timeout("heartbeat_timeout", options.heartbeat_timeout);
    require(options.heartbeat_timeout >= std::chrono::milliseconds(10), "heartbeat_timeout",
            number(options.heartbeat_timeout.count()) + " ns", "at least 10 ms");
    const AccessOptions& access = options.access;
    require(access.tls_certificate_file.empty() == access.tls_private_key_file.empty(), "access",
            "only one of the TLS files", "tls_certificate_file and tls_private_key_file, or neither");
    require(net::is_bearer_token(access.bearer_token), "access.bearer_token",
            "a token with blanks or other than ASCII characters", "visible ASCII characters");
    ActionGate(options.gate, cameras);  // throws if its options make no sense
    options.handshake_timeout = checked_timeout("handshake_timeout", options.handshake_timeout);
    options.idle_timeout = checked_timeout("idle_timeout", options.idle_timeout);
    options.log = [&log](const std::string& line) { log.say(line); };
    return options;
}

}  // namespace

struct PolicyServer::Impl final : HookCalls {
    Impl(PolicyServer& owner, ServerOptions server_options)
        : server(owner),
          log(std::move(server_options.log), "chiral: "),
          options(completed(std::move(server_options), owner.configs_, log)),
          source(std::make_shared<ObservationSource>(owner.configs_, owner.proprio_configs_, options.engine,
                                                     options.max_observers)) {}

    /// From open port to closed one.
    struct Serving {
        explicit Serving(Impl& impl)
            : core(impl.options, impl.stats, impl.source, impl),
              tls(websocket::make_tls(impl.options.access)),
              listener(
                  core.io, [this](net::Link::Socket socket) { take(std::move(socket)); }, impl.options.log),
              signals(core.io) {}
        ServerCore core;
        std::unique_ptr<websocket::Tls> tls;  // null for none
        websocket::Listener listener;
        asio::signal_set signals;
        std::thread network;  // of serve()

        void take(net::Link::Socket socket) {
            if (core.make_room()) std::make_shared<websocket::FrontDoor>(std::move(socket), core, tls.get())->start();
            else count(core.stats.refused);  // closed with its socket
        }
        void shut_down() {
            boost::system::error_code ignored;  // nothing to do about a failure on the way out
            listener.close();
            signals.cancel(ignored);
            signals.clear(ignored);  // a second Ctrl-C ends the process at once
            core.shut_down();
        }
    };

    PolicyServer& server;
    net::Log log;                 // of all that follows
    const ServerOptions options;  // its log is that one
    std::shared_ptr<ObservationSource> source;
    StatCounters stats;

    std::mutex mutex;  // guards what follows
    std::condition_variable ended;
    std::shared_ptr<Serving> serving;
    bool served_once{false};
    bool stop_asked_early{false};
    std::atomic<int> bound_port{0};

    enum class Thread { callers, own };
    std::shared_ptr<Serving> open(const std::string& host, int port, Thread thread);
    void loop(Serving& serving);
    void finish(const std::shared_ptr<Serving>& serving);

    void run_request(Job& job) noexcept override;
    void run_action(Job& job) noexcept override;
    void run_observer(Job& job) noexcept override;
    void connected(const std::string& peer) noexcept override {
        guarded("on_connect", [&] { server.on_connect(peer); });
    }
    void disconnected(const std::string& reason) noexcept override {
        guarded("on_disconnect", [&] { server.on_disconnect(reason); });
    }
    void action_timeout() noexcept override {
        guarded("on_action_timeout", [&] { server.on_action_timeout(); });
    }
    template <class Hook>
    std::string guarded(const char* name, Hook&& hook) noexcept;
};

// ---- serving ----

std::shared_ptr<PolicyServer::Impl::Serving> PolicyServer::Impl::open(const std::string& host, int port, Thread thread) {
    const std::lock_guard lock(mutex);
    if (serving) throw std::logic_error("chiral::PolicyServer: it is being served already");
    if (port < 0 || port > 65535)
        throw std::invalid_argument("chiral::PolicyServer: port is " + std::to_string(port) + ", expected 0 to 65535");
    auto opened = std::make_shared<Serving>(*this);

    opened->listener.open(host, port);
    bound_port.store(opened->listener.port(), std::memory_order_release);
    for (const auto& endpoint : opened->listener.endpoints())
        if (const std::string warning = websocket::warning_if_open_to_all(options.access, endpoint); !warning.empty())
            options.log(warning);
    opened->listener.start();
    if (stop_asked_early) opened->shut_down();
    // Here, so that whoever sees `serving` sees its thread.
    if (thread == Thread::own) opened->network = std::thread([this, opened] { loop(*opened); });
    serving = opened;
    served_once = true;
    stop_asked_early = false;
    return opened;
}

void PolicyServer::Impl::loop(Serving& s) {
    for (;;) {
        try {
            s.core.io.run();
            return;
        } catch (const std::exception& error) {
            // Only memory can be short here. Nobody knows what the handler that threw left undone: the connections are
            // lost, the service goes on.
            options.log(std::string("error on the network thread: ") + error.what());
            s.core.abort_connections();
        }
    }
}

void PolicyServer::Impl::finish(const std::shared_ptr<Serving>& s) {
    s->core.requests.join();
    s->core.actions.join();
    s->core.observers.join();
    log.flush(std::chrono::seconds(1));  // whoever waits for the end may look into the log
    const std::lock_guard lock(mutex);
    serving.reset();
    ended.notify_all();
}

void PolicyServer::run() {
    const auto serving = impl_->open(host_, port_, Impl::Thread::callers);
    if (impl_->options.handle_signals && serving->listener.is_open()) {
        serving->signals.add(SIGINT);
        serving->signals.add(SIGTERM);
        serving->signals.async_wait([serving = serving.get()](boost::system::error_code error, int) {
            if (!error) serving->shut_down();
        });
    }
    impl_->loop(*serving);
    impl_->finish(serving);
}

void PolicyServer::serve() { impl_->open(host_, port_, Impl::Thread::own); }

void PolicyServer::stop() noexcept {
    const std::lock_guard lock(impl_->mutex);
    if (impl_->serving) asio::post(impl_->serving->core.io, [serving = impl_->serving.get()] { serving->shut_down(); });
    else if (!impl_->served_once) impl_->stop_asked_early = true;  // run() may be on its way on another thread
}

void PolicyServer::wait() {
    std::unique_lock lock(impl_->mutex);
    const auto serving = impl_->serving;
    if (!serving) return;
    if (serving->network.joinable()) {
        // The first to wait for a serve() ends it; others wait for that.
        std::thread network = std::move(serving->network);
        lock.unlock();
        network.join();
        impl_->finish(serving);
    } else {
        impl_->ended.wait(lock, [&] { return impl_->serving != serving; });
    }
}

int PolicyServer::port() const noexcept {
    const int bound = impl_->bound_port.load(std::memory_order_acquire);
    return bound != 0 ? bound : port_;
}

// ---- hooks ----

template <class Hook>
std::string PolicyServer::Impl::guarded(const char* name, Hook&& hook) noexcept {
    std::string problem;
    try {
        hook();
        return {};
    } catch (const std::exception& error) {
        problem = std::string(name) + "() failed: " + error.what();
    } catch (...) {
        problem = std::string(name) + "() failed with an unknown exception";
    }
    count(stats.hook_errors);
    options.log(problem);
    return problem;
}

void PolicyServer::Impl::run_request(Job& job) noexcept {
    Reply& reply = job.session->reply(job.reply);
    if (job.session->gone()) reply.error = "the client has gone";
    else if (job.type == wire::RequestType::metadata)
        reply.error = guarded("get_metadata", [&] { reply.metadata = server.get_metadata(); });
    else reply.error = guarded("get_obs", [&] { reply.result.obs = server.get_obs(); });
    job.session->reply_ready(job.reply);
}

void PolicyServer::Impl::run_action(Job& job) noexcept {
    // acquire pairs with the release in end_lease(). Whoever is being executed when the lease ends is not interrupted.
    const bool revoked = job.lease && job.lease->revoked.load(std::memory_order_acquire);
    const bool is_action = job.type != wire::RequestType::reset;
    if (is_action && revoked) count(stats.actions_dropped);
    if (is_action && !revoked && job.rejected.empty())
        stats.action_latency.record(Clock::now() - TimePoint(std::chrono::duration_cast<Clock::duration>(
                                                       std::chrono::duration<double>(job.action.received_at))));
    if (job.type == wire::RequestType::apply_action) {
        if (revoked) return;
        std::string error = guarded("apply_action", [&] { server.apply_action(job.action); });
        count(stats.actions_applied);
        if (error.empty()) return;
        if (const auto sender = job.sender.lock()) sender->action_failed(std::move(error));
        return;
    }
    Reply& reply = job.session->reply(job.reply);
    if (revoked) {
        reply.error = "the client is no longer in control";
    } else if (job.type == wire::RequestType::reset) {
        reply.error = guarded("reset", [&] {
            auto [observation, info] = server.reset();
            reply.result.obs = std::move(observation);
            reply.result.info = std::move(info);
        });
    } else if (!job.rejected.empty()) {
        reply.error = guarded("make_obs", [&] {
            reply.result = StepResult{};
            reply.result.obs = source->make(0.0);
            reply.result.info.emplace("chiral.action_rejected", job.rejected);
        });
    } else {
        reply.error = guarded("step", [&] { reply.result = server.step(job.action); });
        count(stats.actions_applied);
    }
    job.session->reply_ready(job.reply);
}

void PolicyServer::Impl::run_observer(Job& job) noexcept {
    Reply& reply = job.session->reply(job.reply);
    reply.error.clear();
    try {
        reply.result.obs = job.session->seat().observe();
    } catch (const std::exception& error) {
        reply.error = error.what();
        options.log("observation for an observer failed: " + reply.error);
    }
    job.session->reply_ready(job.reply);
}

void PolicyServer::on_connect(const std::string&) {}
void PolicyServer::on_disconnect(const std::string&) {}
void PolicyServer::on_action_timeout() {}

InfoMap PolicyServer::get_metadata() { return {}; }
std::pair<Observation, InfoMap> PolicyServer::reset() { return {make_obs(0.0), {}}; }
Observation PolicyServer::get_obs() { return make_obs(); }

void PolicyServer::apply_action(const Action& action) {
    const OneDefault guard;
    step(action);
}

StepResult PolicyServer::step(const Action& action) {
    {
        const OneDefault guard;
        apply_action(action);
    }
    StepResult result;
    result.obs = get_obs();
    return result;
}

// ---- construction, and what sensor threads call ----

PolicyServer::PolicyServer(std::vector<CameraConfig> cam_configs, std::vector<ProprioConfig> proprio_configs,
                           std::string host, int port, ServerOptions options)
    : host_(std::move(host)),
      port_(port),
      configs_(std::move(cam_configs)),
      proprio_configs_(std::move(proprio_configs)),
      impl_(std::make_unique<Impl>(*this, std::move(options))) {}

PolicyServer::~PolicyServer() {
    stop();
    wait();
    if (impl_->options.quiesce <= Duration::zero()) return;
    // Detached sensor threads of the documented pattern need a moment to see their flag.
    constexpr int kPeriods = 20;  // then they are not going to stop
    std::uint64_t before = impl_->source->publications();
    for (int i = 0; i < kPeriods; ++i) {
        std::this_thread::sleep_for(impl_->options.quiesce);
        const std::uint64_t now = impl_->source->publications();
        if (now == before) break;
        before = now;
    }
    // Nobody joined them, so nothing but the claims orders their last steps before the end of the buffers.
    for (std::size_t i = 0; i < configs_.size(); ++i) {
        Frame frame = engine().begin_frame(i);
        frame.image();
        frame.set_intrinsics(configs_[i].intrinsics);
        frame.set_extrinsics(configs_[i].extrinsics);
        if (configs_[i].has_depth) frame.depth();
    }
    for (std::size_t i = 0; i < proprio_configs_.size(); ++i) {
        const std::vector<float> zeros(static_cast<std::size_t>(proprio_configs_[i].size));
        engine().update_proprio(i, zeros.data(), zeros.size());
    }
}

ServerStats PolicyServer::stats() const noexcept {
    const StatCounters& c = impl_->stats;
    const auto get = [](const std::atomic<std::uint64_t>& counter) { return counter.load(std::memory_order_relaxed); };
    ServerStats stats;
    stats.connections = get(c.connections);
    stats.refused = get(c.refused);
    stats.observers = get(c.observers);
    stats.observations = get(c.observations);
    stats.bytes_sent = get(c.bytes_sent);
    stats.actions_received = get(c.actions_received);
    stats.actions_applied = get(c.actions_applied);
    stats.actions_rejected = get(c.actions_rejected);
    stats.actions_clamped = get(c.actions_clamped);
    stats.actions_dropped = get(c.actions_dropped);
    stats.action_timeouts = get(c.action_timeouts);
    stats.half_open = get(c.half_open);
    stats.longest_half_open = Duration(c.longest_half_open_ns.load(std::memory_order_relaxed));
    stats.longest_timeout_delay = Duration(c.longest_timeout_delay_ns.load(std::memory_order_relaxed));
    stats.protocol_errors = get(c.protocol_errors);
    stats.hook_errors = get(c.hook_errors);
    stats.update_errors = get(c.update_errors);
    stats.copied_observations = impl_->source->copies();
    return stats;
}

Engine& PolicyServer::engine() noexcept { return impl_->source->engine(); }

Status PolicyServer::checked(Status status, const char* call) {
    if (!status.ok()) {
        // The 1st, 2nd, 4th, 8th, ... so that a driver that errs at 500 Hz does not flood the log.
        const std::uint64_t errors = impl_->stats.update_errors.fetch_add(1, std::memory_order_relaxed) + 1;
        if (std::has_single_bit(errors))
            impl_->options.log(std::string(call) + ": " + status.message() + " (update error " + std::to_string(errors) +
                               ")");
    }
    return status;
}

Status PolicyServer::update_image(std::size_t idx, const std::uint8_t* data, std::size_t len) {
    return checked(engine().update_image(idx, data, len), "update_image");
}
Status PolicyServer::update_depth(std::size_t idx, const std::uint8_t* data, std::size_t len) {
    return checked(engine().update_depth(idx, data, len), "update_depth");
}
Status PolicyServer::update_intrinsics(std::size_t idx, const Eigen::Matrix3d& K) {
    return checked(engine().update_intrinsics(idx, K), "update_intrinsics");
}
Status PolicyServer::update_extrinsics(std::size_t idx, const Eigen::Matrix4d& T) {
    return checked(engine().update_extrinsics(idx, T), "update_extrinsics");
}
Status PolicyServer::update_proprio(std::size_t idx, const float* data, std::size_t count) {
    return checked(engine().update_proprio(idx, data, count), "update_proprio");
}
Frame PolicyServer::begin_frame(std::size_t idx) { return engine().begin_frame(idx); }

Observation PolicyServer::make_obs(double timestamp) { return impl_->source->make(timestamp); }

}  // namespace chiral
