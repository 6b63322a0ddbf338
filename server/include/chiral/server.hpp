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
// update_*() and make_obs() may be called from any thread: one thread at a time per field of a camera or proprio stream
// for update_*(). They are wait-free (make_obs(): see there). An exception that leaves a hook closes the connection with
// its text as the reason, and the server goes on.
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

struct ServerOptions {
    /// The engine's options. Its `readers` are the caller's own, for engine().make_reader(); the server adds its own three,
    /// so at most 11 and possibly 0.
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
    /// A client from which nothing comes, not even the answer to a ping, is dropped after this.
    Duration idle_timeout = std::chrono::seconds(20);
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
    std::uint64_t refused{0};           ///< connections turned away because a client was there already
    std::uint64_t observations{0};      ///< observations sent: obs, reset and step answers
    std::uint64_t bytes_sent{0};        ///< message bytes of all answers
    std::uint64_t actions_received{0};  ///< well-formed actions of both dialects
    std::uint64_t actions_applied{0};   ///< of these, those whose hook has returned
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

    // ---- running ----

    /// Serves until stop(), SIGINT or SIGTERM. Throws std::system_error at once if the port cannot be had.
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
