// SPDX-License-Identifier: Apache-2.0
// How a PolicyServer is set up: limits, time-outs, the gate that actions pass, and who may connect.
#pragma once

#include <chiral/api.hpp>
#include <chiral/engine_options.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
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
    int dimension = 0;                 ///< D that actions must have; 0: any
    int max_chunk = 0;                 ///< most rows N of one action; 0: any
    std::vector<double> lower, upper;  ///< per joint; empty: no limit. Judged on what came, before any step is clamped
    GatePolicy outside_limits = GatePolicy::reject;
    /// Per joint, between a row and the one before it, across actions; empty: no limit. The first action of a client and
    /// the first after reset() may be any step away.
    std::vector<double> max_step;
    GatePolicy too_large_step = GatePolicy::reject;
    /// Age of the oldest image that the policy says it saw (Action::obs_timestamps). Zero: no limit. Where there is a limit,
    /// here or for one camera, images of cameras that the robot does not have and images from the future are objected to as
    /// well; an action that names no camera passes.
    Duration max_observation_age = Duration::zero();
    /// Instead of it for cameras of their own pace, by name; more than zero.
    std::map<std::string, Duration> max_camera_age;
    /// How far ahead of the server's clock the time of an image may be.
    Duration future_tolerance = std::chrono::milliseconds(20);
    GatePolicy stale = GatePolicy::reject;  ///< of too old, unknown and future images: accept or reject
};

/// Which clients on the same machine may connect: see ServerOptions::local_socket.
struct LocalAccess {
    /// User ids that may, beside the server's own and root's. The socket file's mode is 0660, so that they must be in its group
    /// as well.
    std::vector<unsigned> users;
    std::size_t max_connections_per_user = 8;
    /// No port is opened for WebSocket and HTTP: nobody else comes, but by Zenoh where that is asked for.
    bool only = false;
    /// Observers at once. Each takes two readers of the engine, and so memory for two more copies of every field.
    int max_observers = 1;
    /// Clients, in control or not, that may look at the newest images without asking (PolicyClient::get_camera), each in a page of its
    /// own that it writes to: 0 to 4. Each takes memory for two more copies of every field of every camera, and two of the 14
    /// readers that there can be.
    int direct_readers = 0;
};

/// Who may connect.
struct AccessOptions {
    /// Asked for as "Authorization: Bearer TOKEN", or as "?access_token=TOKEN" where a browser cannot send that. Empty: not
    /// asked for. /healthz and the frame of the live page need none. Over Zenoh it is the password of user "chiral", without which
    /// nobody gets a session, and routers have to ask for it as well: see docs/ZENOH.md.
    std::string bearer_token;
    /// Browsers tell the Origin of the page that opens a WebSocket. Allowed are those listed here ("https://lab.example"),
    /// and the server's own page: at an address, a name without a dot or in .local, and with a token also at other names,
    /// which may be a stranger's that lead here. Programs send no Origin and are not concerned.
    std::vector<std::string> allowed_origins;
    /// PEM files; both, or neither for no TLS.
    std::string tls_certificate_file, tls_private_key_file;
    LocalAccess local;
};

/// What a server does for clients that want something else than the documented observation: see Want.
struct WantOptions {
    /// Threads of low priority that scale and encode. They start with the first want.
    int threads = 2;
    /// Bytes that a want may take to be made of all cameras together, before they are encoded. A client that wants more is closed
    /// with code 1007.
    std::size_t max_bytes = std::size_t{128} << 20;
    /// Bytes of pictures and depth maps that are kept for others who want the same of the same samples.
    std::size_t max_kept_bytes = std::size_t{32} << 20;
};

/// Zenoh, beside WebSocket or instead of it: see docs/ZENOH.md. Nothing is scouted for and nothing is gossiped. Needs a build with
/// CHIRAL_ZENOH=ON.
struct ZenohOptions {
    /// Where clients and routers reach it. Empty: it listens nowhere. What is not loopback is open to everybody who reaches it,
    /// unless the configuration file asks for TLS certificates or AccessOptions::bearer_token is set; the log warns of that.
    std::string listen = "127.0.0.1";
    int port = 7447;  ///< 0: one that is free, see PolicyServer::zenoh_port()
    /// Instead of WebSocket and HTTP, which get no port: it listens at the PolicyServer's own host and port, not at those above.
    /// Mind that the default host there is 0.0.0.0: all addresses of the machine.
    bool only = false;
    /// Routers to which it connects, and again when they were gone: "tcp/HOST:7447". With a token they have to ask for it. Whoever
    /// gets a session with one of them is with the robot.
    std::vector<std::string> connect;
    /// Of all its keys. The documented programs know "chiral" only; robots that share routers need one each.
    std::string prefix = "chiral";
    /// A JSON5 file with Zenoh's own configuration (TLS, access control, links), which counts where it says something.
    std::string config_file;
    /// A client of the documented kind, which cannot be seen to go, is no longer in control when it has said nothing for so long
    /// and waits for nothing.
    Duration silence = std::chrono::seconds(10);
    /// A client that takes nothing of an answer for so long is dropped.
    Duration stalled_timeout = std::chrono::seconds(5);
    /// Observations a second that are published under PREFIX/stream for whoever subscribes, while anybody does; takes one of the
    /// seats for observers. Zero: none.
    double stream_hz = 0.0;
    /// Every figure of /metrics is published once a second under PREFIX/metrics/..., while anybody subscribes.
    bool publish_metrics = false;
};

struct ServerOptions {
    /// The engine's options. Its `readers` are the caller's own, for engine().make_reader(), possibly 0; the server adds its
    /// own three and one for each observer, and where there is a local socket two and two for each local observer, at most 14
    /// together. So with the readers of a camera or slot, where they are given.
    EngineOptions engine = [] {
        EngineOptions options;
        options.readers = 0;
        return options;
    }();
    /// Largest message accepted from a client. Actions and requests are small.
    std::size_t max_message_bytes = std::size_t{4} << 20;
    /// Actions that may wait for the action thread, and the bytes that they may hold together, one action more at the most.
    /// When they do, the connection is not read until there is room.
    std::size_t max_queued_actions = 256;
    std::size_t max_queued_action_bytes = std::size_t{16} << 20;
    /// An action that has waited for longer, since it arrived at the earliest, reaches no hook: it is dropped, counted
    /// (ServerStats::actions_late), and the client is told in `extra` of its next observation (chiral.actions_late); a step()
    /// is answered with the reason in its info. So a hook that took long is not followed by a burst of what was meant for the
    /// past. Where the connection was not read (the process was stopped, the queue was full), what the system held at the end
    /// of that counts as having arrived at its beginning. Zero: no limit.
    Duration max_action_delay = std::chrono::milliseconds(500);
    /// For so long after a client has left in order, what it sent before is still applied.
    Duration departed_action_time = std::chrono::milliseconds(500);
    /// A handshake, or the answer to a close, that takes longer ends the connection; figures (/metrics) that do are a 503.
    Duration handshake_timeout = std::chrono::seconds(5);
    /// A client whose machine acknowledges nothing any more (cable, Wi-Fi, power) is dropped within this: it is dead. A busy
    /// or stopped client on a machine that lives is not. If it had not read what came before, so that nothing can be sent,
    /// deaf_timeout finds it; also elsewhere than on Linux.
    Duration heartbeat_timeout = std::chrono::seconds(1);
    /// A client that takes nothing of an answer for so long, or does not end a message that it began, is dropped: it is deaf.
    Duration deaf_timeout = std::chrono::minutes(2);
    /// A client from which nothing comes for so long, not even the answer to a ping, is closed with code 1008. Zero: never, as
    /// long as its machine acknowledges, because a policy that infers answers no pings; elsewhere than on Linux deaf_timeout.
    Duration idle_timeout = Duration::zero();
    /// on_action_timeout() is called when the client in control has had an action applied and then none for so long: measured
    /// from the return of one hook to the call of the next. What the gate rejects, came too late, or merely waits is not
    /// applied. Zero: never. A client that has kept a slower rate for five actions may leave out two and a half of its own
    /// periods, up to ten times this.
    Duration action_timeout = std::chrono::milliseconds(250);
    /// The hooks of the two threads run one at a time: get_metadata() and get_obs() on one side, apply_action(), step() and
    /// reset() on the other, in turns. What waits for its turn is judged when it has it: an action whose client has lost control
    /// meanwhile, or that has become too old, reaches no hook. on_connect(), on_disconnect() and on_action_timeout() wait for
    /// none of them. A lock of your own in the hooks cannot do that: what waits for it has been let through.
    bool hooks_one_at_a_time = false;
    /// Rows of an action that the robot executes in a second, if it executes chunks by itself: an action of N rows then covers
    /// N / control_rate_hz seconds more, but no more than a minute unless gate.max_chunk says how many rows there may be. Zero: every
    /// action counts as one moment.
    double control_rate_hz = 0.0;
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
    WantOptions wants;
    /// Path of a socket for clients on the same machine, which look at the images where they are instead of getting copies:
    /// PolicyClient("unix:///run/robot.sock"). Empty: none. docs/LOCAL.md says what is promised, and against whom.
    std::string local_socket;
    ActionGateOptions gate;
    AccessOptions access;
    /// Nothing: no Zenoh.
    std::optional<ZenohOptions> zenoh;
    /// See "Lifetime" above. Zero: do not wait.
    Duration quiesce = std::chrono::milliseconds(50);
    /// run() stops on SIGINT and SIGTERM.
    bool handle_signals = true;
    /// Receives one line per event: client connected, refused, protocol error, update error. Called on a thread of the log's
    /// own, one line after the other, from construction to destruction: it may be slow or block without anybody but the log
    /// waiting. It may call stop(), not wait(). Some 1000 lines wait for it; those that come faster are left out, which is said
    /// when there is room again. wait() and the destructor give it up to a second for what was said before. Default: stderr.
    std::function<void(const std::string&)> log;
};

}  // namespace chiral
