// The robot side of a remote policy: subclass PolicyServer, feed it from sensor threads, run() it.
//
//     class MyRobot : public chiral::PolicyServer {
//     public:
//         MyRobot() : PolicyServer(cameras(), {{"joint_pos", 7}}, "0.0.0.0", 8765) { /* start sensor threads */ }
//         std::pair<chiral::Observation, chiral::InfoMap> reset() override { return {make_obs(), {}}; }
//         chiral::Observation get_obs() override { return make_obs(steps_ * 0.05); }
//         void apply_action(const chiral::Action& action) override { robot.send(action.data); ++steps_; }
//     };
//     int main() { MyRobot().run(); }
//
// Clients of both dialects are served on one port, one at a time: the decoupled one (obs_request, apply_action) and the
// legacy one (action answered by step_response). A server that implements only get_obs()/apply_action(), or only step(),
// serves both.
//
// Threads. The network thread runs no user code. get_metadata() and get_obs() are called on the request thread;
// apply_action(), step() and reset() on the action thread, in the order in which the client sent them. So a slow
// apply_action() delays no observation and a blocking get_obs() delays no action; what both touch must be synchronised.
// on_connect(), on_disconnect() and on_action_timeout() are called on the action thread too, in their place among the actions.
// update_*() and make_obs() may be called from any thread: one thread at a time per field of a camera or proprio stream
// for update_*(). They are wait-free (make_obs(): see there). An exception that leaves a hook closes the connection with
// its text as the reason, and the server goes on.
//
// One client controls. Others may observe: a connection to /observe gets metadata and observations of its own, reaches no
// hook but get_metadata(), and delays nobody. The same port answers plain HTTP: /healthz, /metrics, and / with a live page.
//
// Lifetime. Sensor threads must have ended before the object is destroyed. Because the documented pattern detaches them and
// only clears a flag in the derived destructor, ~PolicyServer waits until no source has been updated for
// ServerOptions::quiesce. A server started with serve() must be stopped before a derived destructor runs: call stop() and
// wait() there, or earlier, because hooks run until then.
#pragma once

#include <chiral/engine.hpp>
#include <chiral/types.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace chiral {

/// What becomes of an action to which the gate objects.
enum class GatePolicy : std::uint8_t {
    accept,  ///< passed on unchanged, counted as if there were no objection
    clamp,   ///< passed on, changed to the nearest value that is allowed
    reject,  ///< not passed on
};

/// Checks before apply_action() and step(). Actions that are clamped or rejected are counted, logged with the reason and
/// reported in `extra` of the next observation: chiral.actions_rejected, chiral.actions_clamped (how many since the last
/// one) and chiral.action_reason (of the last). A step() that is rejected is answered, with the reason in its info.
struct ActionGateOptions {
    int dimension = 0;                ///< D that actions must have; 0: any
    int max_chunk = 0;                ///< most rows N of one action; 0: any
    std::vector<double> lower, upper; ///< per joint; empty: no limit
    GatePolicy outside_limits = GatePolicy::reject;
    /// Per joint, between a row and the one before it, across actions; empty: no limit. The first action of a client and
    /// the first after reset() may be any step away.
    std::vector<double> max_step;
    GatePolicy too_large_step = GatePolicy::reject;
    /// Age of the newest image that the policy saw (obs_timestamps). Zero: no limit. An action that does not say passes.
    Duration max_observation_age = Duration::zero();
    GatePolicy stale = GatePolicy::reject;  ///< accept or reject
};

/// Who may connect.
struct AccessOptions {
    /// Asked for as "Authorization: Bearer TOKEN", or as "?access_token=TOKEN" where a browser cannot send that. Empty: not
    /// asked for. /healthz and the frame of the live page need none.
    std::string bearer_token;
    /// Browsers tell the Origin of the page that opens a WebSocket. Allowed are those listed here ("https://lab.example"),
    /// and the server's own page: at an address, a name without a dot or in .local, and with a token also at other names,
    /// which may be a stranger's that lead here. Programs send no Origin and are not concerned.
    std::vector<std::string> allowed_origins;
    /// PEM files; both, or neither for no TLS.
    std::string tls_certificate_file, tls_private_key_file;
};

struct ServerOptions {
    /// The engine's options. Its `readers` are the caller's own, for engine().make_reader(), possibly 0; the server adds its
    /// own three and one for each observer, at most 14 together.
    EngineOptions engine = [] {
        EngineOptions options;
        options.readers = 0;
        return options;
    }();
    /// Largest message accepted from a client. Actions and requests are small.
    std::size_t max_message_bytes = std::size_t{4} << 20;
    /// Actions that may wait for the action thread. When they do, the connection is not read until there is room.
    std::size_t max_queued_actions = 256;
    /// A client that does not finish the handshake, or a closing one that does not answer, is dropped after this.
    Duration handshake_timeout = std::chrono::seconds(5);
    /// A client is dropped when for so long nothing comes from it, not even the answer to a ping; or it takes nothing of
    /// an answer; or a message that it began does not end.
    Duration idle_timeout = std::chrono::seconds(20);
    /// A client whose machine acknowledges nothing any more (cable, Wi-Fi, power) is dropped within this. A busy or stopped
    /// client on a machine that lives is not. If it had not read what came before, so that nothing can be sent, idle_timeout
    /// finds it; also elsewhere than on Linux.
    Duration heartbeat_timeout = std::chrono::seconds(1);
    /// on_action_timeout() is called when the client in control has sent actions and then none for so long; those that the
    /// gate rejects do not count. Zero: never.
    Duration action_timeout = std::chrono::milliseconds(100);
    /// Messages a second that are read from one client; more of them wait in the network. A client that sends more pings and
    /// pongs than that, which do not wait, is closed with code 1008.
    std::size_t max_messages_per_second = 10'000;
    /// Connections at once, of all kinds. One more takes the place of the oldest that has not got through its handshake.
    std::size_t max_connections = 64;
    /// A client that connects with "?takeover=1" replaces the one in control. False: it is turned away like any other.
    bool allow_takeover = false;
    /// Connections to /observe at once. Each takes a reader of the engine, and so memory for one more copy of every field.
    int max_observers = 2;
    /// Observations a second for each observer; its requests wait until then.
    double max_observer_hz = 30.0;
    ActionGateOptions gate;
    AccessOptions access;
    /// See "Lifetime" above. Zero: do not wait.
    Duration quiesce = std::chrono::milliseconds(50);
    /// run() stops on SIGINT and SIGTERM.
    bool handle_signals = true;
    /// Receives one line per event: client connected, refused, protocol error, update error. Any thread. Default: stderr.
    std::function<void(const std::string&)> log;
};

/// Counters since construction.
struct ServerStats {
    std::uint64_t connections{0};       ///< clients that were let in
    std::uint64_t refused{0};           ///< connections turned away: a client was there already, no token, ...
    std::uint64_t observers{0};         ///< observers that were let in
    std::uint64_t observations{0};      ///< observations sent: obs, reset and step answers
    std::uint64_t bytes_sent{0};        ///< message bytes of all answers
    std::uint64_t actions_received{0};  ///< well-formed actions of both dialects
    std::uint64_t actions_applied{0};   ///< of these, those whose hook has returned
    std::uint64_t actions_rejected{0};  ///< of these, those that the gate rejected
    std::uint64_t actions_clamped{0};   ///< of these, those that the gate changed
    std::uint64_t actions_dropped{0};   ///< of these, those whose client lost control before their turn had come
    std::uint64_t action_timeouts{0};   ///< calls of on_action_timeout()
    std::uint64_t half_open{0};         ///< clients dropped because their machine acknowledged nothing any more
    Duration longest_half_open{};       ///< longest time from the last sign of such a machine until it was dropped
    Duration longest_timeout_delay{};   ///< longest time from the end of action_timeout until the hook was called
    std::uint64_t protocol_errors{0};   ///< malformed messages and handshakes
    std::uint64_t hook_errors{0};       ///< exceptions that left a hook
    std::uint64_t update_errors{0};     ///< update_*() calls that were refused
    std::uint64_t copied_observations{0};  ///< make_obs() calls that had to copy pixels: see there
};

class PolicyServer {
public:
    /// Allocates all buffers. Throws std::invalid_argument for a declaration that makes no sense. Opens no port yet.
    /// Port 0 picks a free one when serving starts: see port().
    explicit PolicyServer(std::vector<CameraConfig> cam_configs, std::vector<ProprioConfig> proprio_configs = {},
                          std::string host = "0.0.0.0", int port = 8765, ServerOptions options = {});
    virtual ~PolicyServer();
    PolicyServer(const PolicyServer&) = delete;
    PolicyServer& operator=(const PolicyServer&) = delete;

    // ---- hooks ----

    /// Static information, asked for once after connecting. Request thread. Default: empty.
    virtual InfoMap get_metadata();
    /// Starts an episode. Action thread. Default: {make_obs(0.0), {}}.
    virtual std::pair<Observation, InfoMap> reset();
    /// What the client sees. Request thread; may block until there is something worth sending. Default: make_obs().
    virtual Observation get_obs();
    /// Executes an action; no answer is sent. Action thread. Default: step(action), its result dropped.
    virtual void apply_action(const Action& action);
    /// Legacy: executes an action and observes. Action thread. Default: apply_action(action), then get_obs().
    virtual StepResult step(const Action& action);

    /// A client is in control now; `peer` is its address. Action thread, before its first action. Default: nothing.
    virtual void on_connect(const std::string& peer);
    /// It no longer is. Action thread, after its last action. What it sent before it closed the connection in order, or before
    /// a message that is malformed, is still executed, unless the server is stopped or another client takes over; what was
    /// waiting when the connection broke is dropped. Default: nothing.
    virtual void on_disconnect(const std::string& reason);
    /// No action for ServerOptions::action_timeout: stop, hold, or slow down. Action thread; called once, until the next
    /// action has come. Default: nothing.
    virtual void on_action_timeout();

    // ---- running ----

    /// Serves until stop(), SIGINT or SIGTERM. Throws std::system_error at once if the port cannot be had or the files for TLS
    /// cannot be used.
    void run();
    /// Starts serving on threads of its own and returns when the port is open. Throws like run(). Handles no signals.
    void serve();
    /// Ends run() or serve(): the client is told "going away". Any thread, also a hook; does not wait.
    void stop() noexcept;
    /// Returns when a server that was stopped has ended, and no hook runs any more; at once if none is running. Not from a
    /// hook.
    void wait();
    /// The port that is or was served, or as configured before that.
    int port() const noexcept;
    ServerStats stats() const noexcept;

    /// The buffers, for readers of the caller's own and for waiting on frames.
    Engine& engine() noexcept;

protected:
    std::string host_;
    int port_;
    std::vector<CameraConfig> configs_;
    std::vector<ProprioConfig> proprio_configs_;

    // ---- sensor threads ----
    // What cannot be taken (wrong size, unknown index, depth without depth, NaN in K, T or a sample) leaves the buffers as
    // they were, is counted, logged, and returned.

    /// H*W*C bytes. Copies and publishes. Captured now.
    Status update_image(std::size_t idx, const std::uint8_t* data, std::size_t len);
    /// H*W float32 in metres, given as bytes.
    Status update_depth(std::size_t idx, const std::uint8_t* data, std::size_t len);
    /// 3x3 camera matrix, pixels.
    Status update_intrinsics(std::size_t idx, const Eigen::Matrix3d& K);
    /// 4x4 camera-to-world transform, metres.
    Status update_extrinsics(std::size_t idx, const Eigen::Matrix4d& T);
    /// `count` float32 values, as many as declared.
    Status update_proprio(std::size_t idx, const float* data, std::size_t count);
    /// A frame transaction: fill slots in place, publish several fields of one camera in one step. See Frame.
    Frame begin_frame(std::size_t idx);

    /// Snapshot of all sources. Pixels are borrowed from pinned slots, so that an observation that is returned from a hook
    /// goes to the socket without being copied; its timestamp, extrinsics, extra and all else but the pixels may be
    /// changed freely. Wait-free and free of allocation while at most two such observations exist, as it is in serving
    /// one client; if the caller keeps more of them, further ones are copies made under a lock.
    Observation make_obs(double timestamp = 0.0);

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
    Status checked(Status status, const char* call);
};

}  // namespace chiral
