// SPDX-License-Identifier: Apache-2.0
// PolicyServer: its face. What its options must be, what serves, and who calls the hooks, is elsewhere.
#include <chiral/log.hpp>
#include <chiral/server.hpp>

#include "local/arena_file.hpp"
#include "net/thread_name.hpp"
#include "robot/checked_options.hpp"
#include "robot/observation_source.hpp"
#include "robot/stat_counters.hpp"
#include "serving.hpp"

#include <bit>
#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <thread>

namespace chiral {
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

}  // namespace

struct PolicyServer::Impl {
    Impl(PolicyServer& owner, ServerOptions server_options)
        : server(owner),
          log(std::move(server_options.log), "chiral: "),
          options(robot::checked(std::move(server_options), owner.configs_, log)),
          arena(options.local_socket.empty() ? nullptr : std::make_unique<local::ArenaFile>()),
          source(std::make_shared<robot::ObservationSource>(owner.configs_, owner.proprio_configs_, engine_options(),
                                                            robot::seats_of(options), options.log)) {}

    // With memory that clients on the same machine can look at, where there may be some.
    EngineOptions engine_options() {
        EngineOptions engine = options.engine;
        if (arena) engine.memory = [file = arena.get()](std::size_t bytes) { return file->map(bytes); };
        engine.guests = robot::guests_of(options);
        if (arena) engine.guest_memory = [file = arena.get()](std::size_t bytes) { return file->guests.map(bytes); };
        return engine;
    }

    PolicyServer& server;
    Log log;                                        // of all that follows
    const ServerOptions options;                    // its log is that one
    const std::unique_ptr<local::ArenaFile> arena;  // null without a local socket
    std::shared_ptr<robot::ObservationSource> source;
    robot::StatCounters stats;
    std::atomic<int> bound_port{0}, bound_zenoh_port{0};

    // Held for moments only: never while a hook or the log is called, which may call stop().
    std::mutex mutex;  // guards what follows
    std::condition_variable changed;
    enum class Phase { idle, opening, serving, ending } phase{Phase::idle};
    std::unique_ptr<server::Serving> serving;
    std::uint64_t begun{0};  // how often it was served so far
    bool stop_asked{false};  // while there was nothing to stop: it is for what begins next, however often that fails before

    std::unique_ptr<server::Serving> open(const std::string& host, int port);
    /// Stays until end(), which only the thread calls that runs or joins it.
    template <class StartThread>
    server::Serving& begin(std::unique_ptr<server::Serving> opened, StartThread&& start_thread);
    void end();
};

// ---- serving ----

std::unique_ptr<server::Serving> PolicyServer::Impl::open(const std::string& host, int port) {
    if (port < 0 || port > 65535)
        throw std::invalid_argument("chiral::PolicyServer: port is " + std::to_string(port) + ", expected 0 to 65535");
    {
        const std::lock_guard lock(mutex);
        if (phase != Phase::idle) throw std::logic_error("chiral::PolicyServer: it is being served already");
        phase = Phase::opening;
    }
    try {
        auto opened = std::make_unique<server::Serving>(server, options, stats, source, arena.get());
        opened->open(host, port);
        bound_port.store(opened->port(), std::memory_order_release);
        bound_zenoh_port.store(opened->zenoh_port(), std::memory_order_release);
        return opened;
    } catch (...) {
        end();
        throw;
    }
}

template <class StartThread>
server::Serving& PolicyServer::Impl::begin(std::unique_ptr<server::Serving> opened, StartThread&& start_thread) {
    try {
        const std::lock_guard lock(mutex);  // whoever sees `serving` sees its thread
        if (stop_asked) opened->stop();     // before anybody is let in
        opened->start();
        opened->network = start_thread(*opened);
        serving = std::move(opened);
        phase = Phase::serving;
        ++begun;
        stop_asked = false;
        changed.notify_all();
        return *serving;
    } catch (...) {
        opened.reset();
        end();
        throw;
    }
}

void PolicyServer::Impl::end() {
    log.flush(std::chrono::seconds(1));  // whoever waits for the end may look into the log
    std::unique_ptr<server::Serving> over;
    {
        const std::lock_guard lock(mutex);
        over = std::move(serving);
        phase = Phase::ending;
    }
    // Ports and names are free before anybody hears of it, and nothing looks any more at what the server's owner may destroy then.
    over.reset();
    const std::lock_guard lock(mutex);
    phase = Phase::idle;
    changed.notify_all();
}

void PolicyServer::run() {
    server::Serving& serving = impl_->begin(impl_->open(host_, port_), [&](server::Serving& opened) {
        if (impl_->options.handle_signals) opened.stop_on_signals();
        return std::thread();
    });
    serving.loop();
    serving.join_hooks();
    impl_->end();
}

void PolicyServer::serve() {
    impl_->begin(impl_->open(host_, port_), [](server::Serving& opened) {
        return std::thread([&opened] {
            net::name_this_thread("chiral-net");
            opened.loop();
        });
    });
}

void PolicyServer::stop() noexcept {
    const std::lock_guard lock(impl_->mutex);
    if (impl_->serving) impl_->serving->stop();
    else if (impl_->phase != Impl::Phase::ending) impl_->stop_asked = true;  // run() may be on its way on another thread
}

void PolicyServer::wait() {
    std::unique_lock lock(impl_->mutex);
    impl_->changed.wait(lock, [&] { return impl_->phase != Impl::Phase::opening; });
    if (server::Serving* const serving = impl_->serving.get(); serving != nullptr && serving->network.joinable()) {
        // The first to wait for a serve() ends it; others wait for that.
        std::thread network = std::move(serving->network);
        lock.unlock();
        network.join();
        serving->join_hooks();
        impl_->end();
    } else {
        const std::uint64_t begun = impl_->begun;
        impl_->changed.wait(lock, [&] { return impl_->phase == Impl::Phase::idle || impl_->begun != begun; });
    }
}

int PolicyServer::port() const noexcept {
    const int bound = impl_->bound_port.load(std::memory_order_acquire);
    return bound != 0 || impl_->options.access.local.only ? bound : port_;
}

int PolicyServer::zenoh_port() const noexcept {
    if (const int bound = impl_->bound_zenoh_port.load(std::memory_order_acquire)) return bound;
    const auto& zenoh = impl_->options.zenoh;
    return !zenoh ? 0 : zenoh->only ? port_ : zenoh->port;
}

// ---- hooks ----

void PolicyServer::on_connect(const std::string&) {}
void PolicyServer::on_disconnect(const std::string&) { on_action_timeout(); }
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
        if (configs_[i].has_depth) frame.depth_bytes();
    }
    for (std::size_t i = 0; i < proprio_configs_.size(); ++i) {
        const ProprioConfig& config = proprio_configs_[i];
        const std::vector<std::byte> zeros(static_cast<std::size_t>(config.size) * size_of(config.dtype));
        static_cast<void>(engine().update_proprio_bytes(i, zeros));
    }
    for (std::size_t i = 0; i < engine().slots().size(); ++i) {
        const std::vector<std::byte> zeros(engine().slots()[i].bytes);
        static_cast<void>(engine().update_slot(i, zeros.data(), zeros.size()));
    }
}

ServerStats PolicyServer::stats() const noexcept { return robot::summary(impl_->stats, impl_->source->copies()); }

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

Status PolicyServer::update_image(std::size_t idx, const std::uint8_t* data, std::size_t len, Captured at) {
    return checked(at ? engine().update_image(idx, data, len, *at) : engine().update_image(idx, data, len), "update_image");
}
Status PolicyServer::update_image(std::size_t idx, const ImageView& image, Captured at) {
    return checked(at ? engine().update_image(idx, image, *at) : engine().update_image(idx, image), "update_image");
}
Status PolicyServer::update_depth(std::size_t idx, const std::uint8_t* data, std::size_t len, Captured at) {
    return checked(at ? engine().update_depth(idx, data, len, *at) : engine().update_depth(idx, data, len), "update_depth");
}
Status PolicyServer::update_intrinsics(std::size_t idx, const Eigen::Matrix3d& K, Captured at) {
    return checked(at ? engine().update_intrinsics(idx, K, *at) : engine().update_intrinsics(idx, K), "update_intrinsics");
}
Status PolicyServer::update_extrinsics(std::size_t idx, const Eigen::Matrix4d& T, Captured at) {
    return checked(at ? engine().update_extrinsics(idx, T, *at) : engine().update_extrinsics(idx, T), "update_extrinsics");
}
Status PolicyServer::update_proprio(std::size_t idx, const float* data, std::size_t count, Captured at) {
    return checked(at ? engine().update_proprio(idx, data, count, *at) : engine().update_proprio(idx, data, count),
                   "update_proprio");
}
Frame PolicyServer::begin_frame(std::size_t idx) { return engine().begin_frame(idx); }

Observation PolicyServer::make_obs(double timestamp) { return impl_->source->make(timestamp); }

}  // namespace chiral
