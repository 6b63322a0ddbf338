// SPDX-License-Identifier: Apache-2.0
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

#include <chiral/api.hpp>
#include <chiral/engine.hpp>
#include <chiral/options.hpp>
#include <chiral/stats.hpp>
#include <chiral/types.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace chiral {

class CHIRAL_API PolicyServer {
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
    /// Starts an episode. Action thread. Default: {make_obs(0.0), {}}. While it runs nothing else stops the robot: one that takes long
    /// begins by stopping what the last action set going. If no action comes for action_timeout behind it, on_action_timeout() is called,
    /// unless that was done since the last action, or this client has had none applied.
    virtual std::pair<Observation, InfoMap> reset();
    /// What the client sees. Request thread; may block until there is something worth sending. Default: make_obs().
    virtual Observation get_obs();
    /// Executes an action; no answer is sent. Action thread. Default: step(action), its result dropped.
    virtual void apply_action(const Action& action);
    /// Legacy: executes an action and observes. Action thread. Default: apply_action(action), then get_obs().
    virtual StepResult step(const Action& action);

    /// A client is in control now; `peer` is its address. Action thread, before its first action; not for a client that has gone
    /// again before its turn came and left nothing to do. Default: nothing.
    virtual void on_connect(const std::string& peer);
    /// It no longer is. Action thread, after its last action; for every client for which on_connect() was called. What it sent
    /// before it closed the connection in order, or before a message that is malformed, is still executed for
    /// ServerOptions::departed_action_time, unless the server is stopped or another client takes over; what was waiting when
    /// the connection broke is dropped. Nobody watches the robot's actions any more from here on: default is
    /// on_action_timeout(), as no action will come.
    virtual void on_disconnect(const std::string& reason);
    /// No action was applied for ServerOptions::action_timeout: stop, hold, or slow down. Action thread, ahead of all that is
    /// queued there, as soon as it is free: a hook that does not return keeps it, and is named in the log. Called once, until
    /// the next action has been applied. Also called by the default on_disconnect(). Default: nothing.
    virtual void on_action_timeout();

    // ---- running ----

    /// Serves until stop(), SIGINT or SIGTERM. Throws std::system_error at once if the port cannot be had or the files for TLS
    /// cannot be used.
    void run();
    /// Starts serving on threads of its own and returns when the port is open. Throws like run(). Handles no signals.
    void serve();
    /// Ends run() or serve(): the client is told "going away", and no further action reaches a hook. Any thread, also a hook or
    /// the log; does not wait. While nothing is served, it is the next run() or serve() that ends at once; one that throws,
    /// because the port is taken, is none.
    void stop() noexcept;
    /// Returns when a server that was stopped has ended, and no hook runs any more; at once if none is running. Not from a
    /// hook.
    void wait();
    /// The port that is or was served, or as configured before that.
    int port() const noexcept;
    /// The same of ServerOptions::zenoh; 0 without it.
    int zenoh_port() const noexcept;
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

    /// When a sensor captured what it delivers: now if nothing is said.
    using Captured = std::optional<TimePoint>;

    /// H*W*C elements of the declared type, as bytes; H*W*C bytes if nothing else was declared. Copies and publishes. Captured
    /// now, or when the caller says, on chiral::Clock; see ClockMap for a device's own stamps. So with all of them.
    Status update_image(std::size_t idx, const std::uint8_t* data, std::size_t len, Captured at = std::nullopt);
    /// The same of rows with a stride, or in another order of bytes: see ImageView.
    Status update_image(std::size_t idx, const ImageView& image, Captured at = std::nullopt);
    /// H*W elements of the declared type, given as bytes; float32 in metres if nothing else was declared.
    Status update_depth(std::size_t idx, const std::uint8_t* data, std::size_t len, Captured at = std::nullopt);
    /// 3x3 camera matrix, pixels.
    Status update_intrinsics(std::size_t idx, const Eigen::Matrix3d& K, Captured at = std::nullopt);
    /// 4x4 camera-to-world transform, metres.
    Status update_extrinsics(std::size_t idx, const Eigen::Matrix4d& T, Captured at = std::nullopt);
    /// `count` float32 values, as many as declared.
    Status update_proprio(std::size_t idx, const float* data, std::size_t count, Captured at = std::nullopt);
    /// As many elements as declared of a stream of any type.
    template <class T>
    Status update_proprio_as(std::size_t idx, std::span<const T> values, Captured at = std::nullopt) {
        return checked(engine().update_proprio_as(idx, values, at), "update_proprio_as");
    }
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
