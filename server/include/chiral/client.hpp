// SPDX-License-Identifier: Apache-2.0
// The policy side: connects to a PolicyServer (this one or the public Python one) and talks either dialect.
//
//     chiral::PolicyClient env("ws://robot:8765");
//     auto [obs, info] = env.connect().reset();
//     env.start_obs_stream(30);          // keeps latest_obs() fresh
//     env.start_action_dispatch(10);     // sends queued actions at 10 Hz
//     env.put_action(action);
//
// Threads. Every method but the destructor may be called from any thread. Requests are answered one at a time, in the order
// in which they came; actions are sent while an answer is outstanding. Network input and output, the observation stream and
// the action dispatch run on threads of the client; answers are decoded on the thread that asked.
//
// Errors. ConnectionError when there is no connection, it breaks, or an answer does not come in time: the client is closed
// then, every later call says why, and it may connect() again. The server's bytes are trusted no more than the server trusts
// ours: an answer that is not well-formed is a ConnectionError that says what came and what was expected.
#pragma once

#include <chiral/api.hpp>
#include <chiral/time.hpp>
#include <chiral/types.hpp>
#include <chiral/want.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

namespace chiral {

class CHIRAL_API ConnectionError : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// Over unix://, where observations lie in the server's memory: as many are held as it lends at once, which are two. The
/// connection goes on; destroy or refill one of them, then ask again.
class CHIRAL_API LoanError : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

struct ClientOptions {
    /// How long connect() keeps trying; max(): for ever, as the documented client does.
    Duration connect_timeout = Duration::max();
    Duration retry_interval = std::chrono::milliseconds(100);
    /// How long one answer may take, be it to a request or to the attempt to connect; also how long an action may wait for
    /// a server that does not read.
    Duration request_timeout = std::chrono::seconds(30);
    /// How long the answer to reset() or step() may take instead; max(): as long as it takes, because a person may be setting
    /// the scene. A server that goes meanwhile is noticed all the same, and one whose machine acknowledges nothing any more
    /// (cable, Wi-Fi, power) within request_timeout, at least three seconds, on Linux.
    Duration reset_timeout = Duration::max();
    /// Largest message accepted from the server.
    std::size_t max_message_bytes = std::size_t{1} << 30;
    /// Actions that put_action() keeps for dispatch.
    std::size_t max_queued_actions = 256;
    /// How long before an image is due, and after that, wait_frame() looks for it over and over instead of sleeping, where
    /// reads_directly(): waking up takes tens of microseconds. It costs the caller's core up to twice that for each image; when one is
    /// due is told by those that were seen. At most a second; 0: never.
    Duration busy_poll = Duration::zero();
    /// Sent as "Authorization: Bearer TOKEN" in the handshake, to the server of the address and to nobody else: redirections
    /// are not followed. Over ws:// whoever can listen on the network can read it. zenoh://: the password of user "chiral" as well,
    /// without which a robot that asks for a token opens no session; one that asks for none opens none with it.
    std::string bearer_token;
    /// wss:// only. PEM file with the certificates that are trusted: the authority that signed the server's certificate, or
    /// that certificate itself. Empty: the authorities that the system trusts.
    std::string tls_ca_file;
    /// wss:// only. False: talks to a server whoever it is, and so hands the token and the robot to anybody who gets in
    /// between. True: its certificate must be trusted, valid now, and for the host name or IP address of the URI.
    bool tls_verify = true;
    /// zenoh:// only. A JSON5 file with Zenoh's own configuration (TLS, links), which counts where it says something.
    std::string zenoh_config_file;
    /// Receives one line when connect() starts to wait for a server, and when a background stream ends on an error. Any
    /// thread; must not call the client. Default: stderr.
    std::function<void(const std::string&)> log;
};

struct ClientStats {
    // Since construction, over all connections.
    std::uint64_t observations{0};    ///< received: by request, reset, step and stream
    std::uint64_t bytes_received{0};  ///< message bytes of all answers
    std::uint64_t actions_sent{0};    ///< of both dialects, given to the network
    double last_round_trip{0.0};      ///< of the last observation, seconds from request sent to answer decoded
};

class CHIRAL_API PolicyClient {
public:
    /// Connects to nothing yet. Throws std::invalid_argument for an option that is zero or negative, and for a token that a
    /// header cannot carry.
    explicit PolicyClient(std::string uri = "ws://localhost:8765", ClientOptions options = {});
    ~PolicyClient();
    PolicyClient(const PolicyClient&) = delete;
    PolicyClient& operator=(const PolicyClient&) = delete;

    /// Connects; tries again while nobody listens, the name is unknown, or the server ends the connection before the
    /// handshake. Throws ConnectionError at the timeout, or when another thread calls close(); std::invalid_argument for a
    /// URI that is not ws://HOST[:PORT][/PATH] or wss://HOST[:PORT][/PATH], where the port is 80 or 443 if not given, or
    /// unix:///PATH[?takeover=1|?observe=1], or zenoh://HOST[:PORT][/PREFIX] (7447), which may also be written tcp/HOST:PORT (see
    /// docs/ZENOH.md); and for a tls_ca_file that cannot be used. A server that turns the client away (HTTP status other than
    /// 101), that does not speak TLS or WebSocket, or whose certificate is not good, is a ConnectionError at once, with its
    /// status and reason. Has no effect on a connected client; on one whose connection broke it ends the streams first, as close() does. A name
    /// lookup cannot be interrupted and may outlast the timeout. Returns *this.
    PolicyClient& connect();
    /// Sends what apply_action() has taken, then closes with a WebSocket close handshake; waits for that two seconds at most,
    /// or request_timeout if that is shorter. Ends the streams, drops queued actions, and ends calls that wait in other
    /// threads with a ConnectionError. May be called at any time, and again.
    void close();
    /// Whether calls can succeed, as far as is known without trying: false as soon as the server has closed.
    bool connected() const noexcept;

    // Observations borrow their pixels from the memory that the message was received in, which they keep, also beyond the
    // client's life; they are not copied. Over unix:// that is the server's memory: at most two are held at once, a further
    // one is a LoanError, and when the connection has ended the server may write there (docs/LOCAL.md). Copies of an observation own their pixels, and so does a buffer that is changed
    // (ByteBuffer). Depths are aligned for float.

    InfoMap get_metadata();
    /// Starts an episode. Queued actions are of the one before: none is dispatched any more, and those that other threads put
    /// before this returns are dropped as well.
    std::pair<Observation, InfoMap> reset();
    Observation get_obs();
    /// Decodes into `obs`, reusing its memory and giving back what it has borrowed: nothing is allocated once two messages of
    /// that size have come. After an error its content is unspecified.
    void get_obs(Observation& obs);
    /// Asks for an observation as it is wanted: see Want. What comes is decoded to plain arrays in the size that was asked for;
    /// a server that knows no wants sends the documented observation instead. Not for a stream that runs beside it: each
    /// change of the want, and each new connection, begins anew with what is known of the cameras. Throws like get_obs(), and
    /// std::invalid_argument for a want that is out of bounds.
    Observation get_obs(const Want& want);
    void get_obs(Observation& obs, const Want& want);  ///< reuses the memory of `obs`
    /// Over unix:// only, else std::logic_error: waits until a camera has an image newer than number `after` (CameraInfo::sequence of the
    /// one that is known) and returns the newest one's; 0 at the timeout. get_obs() shows it then. One thread at a time waits.
    /// If the timeout is shorter than the server's answer takes, even zero, the next call returns it if that has the same `camera` and
    /// `after`: who polls several cameras in turn asks get_camera().
    /// Throws std::out_of_range for a camera that the robot does not have.
    std::uint64_t wait_frame(const std::string& camera, std::uint64_t after, Duration timeout);
    /// The newest image of one camera, with its depth map and matrices, all current at one instant during the call; reuses the memory of
    /// `camera` and gives back what it has borrowed. Over unix://, where the robot has a seat left for a client that reads by
    /// itself (LocalAccess::direct_readers), without asking: no system call, no answer that takes its turn. Then two of each camera
    /// can be held beside the two observations, a further one is a LoanError, and SourceStatus::frozen is not noticed. Else it is
    /// get_obs(), and all that is said there. Throws std::out_of_range for a camera that the robot does not have.
    void get_camera(const std::string& name, CameraInfo& camera);
    /// Whether get_camera() does without asking.
    bool reads_directly() const noexcept;
    /// Legacy: sends the action and waits for the step response. Refuses actions and attaches times like apply_action().
    StepResult step(const Action& action);
    void step(const Action& action, StepResult& result);  ///< reuses the memory of `result`
    /// Sends one action now; no answer is awaited. Returns when it is queued for the network, which holds 64 messages, and
    /// waits before that while the server does not read. N = 1 is sent as shape [D], as Python clients do.
    ///
    /// Attaches the capture times of the last observation as obs_timestamps, unless the action brings its own: of the last
    /// that the caller got from any method, which is what the policy saw, not of one that has only been streamed.
    ///
    /// Throws std::invalid_argument for an action whose data is not N*D finite values with N and D positive: the server could
    /// not tell anybody.
    void apply_action(const Action& action);

    /// Requests observations at `hz` on a thread of its own; a period is skipped while an answer is outstanding. Throws
    /// std::invalid_argument unless 0 < hz <= 10000, std::logic_error if a stream runs, ConnectionError if not connected.
    void start_obs_stream(double hz);
    /// The same of observations as they are wanted; decoded on the thread of the stream.
    void start_obs_stream(double hz, const Want& want);
    /// Waits for the outstanding answer. Has no effect if no stream runs.
    void stop_obs_stream();
    /// The newest streamed observation, shared and never changed while anybody holds it; null before the first since the
    /// stream started. Throws ConnectionError if the stream has ended on an error, until it is started again.
    ///
    /// Up to eight observations are reused when nobody holds them any more, so that a stream allocates no pixels.
    std::shared_ptr<const Observation> latest_obs() const;
    /// Waits for a streamed observation other than `previous`; null at the timeout, or when no stream runs or it is stopped.
    /// Throws like latest_obs().
    std::shared_ptr<const Observation> wait_obs(const std::shared_ptr<const Observation>& previous, Duration timeout) const;

    /// Queues an action for dispatch, with the times and checks of apply_action() as of now. False if max_queued_actions are
    /// waiting: nothing is queued then. Throws ConnectionError if the dispatch has ended on an error, until it is started
    /// again. May be called before connect().
    bool put_action(Action action);
    /// For a policy that plans ahead again and again: puts the N rows of a chunk, to be sent one per period as [D], in the place
    /// of all that is queued, in one step. A dispatch that is just sending an action ends that first. False if N is more than
    /// max_queued_actions: the queue is as before then. Otherwise like put_action().
    bool replace_actions(const Action& chunk);
    /// Drops what is queued. An action that is just being sent is sent.
    void clear_actions();
    /// Sends one queued action per period, in order, on a thread of its own. Errors as start_obs_stream().
    void start_action_dispatch(double hz);
    /// What is queued stays, for the next dispatch.
    void stop_action_dispatch();
    /// Actions that wait for dispatch, and one that is just being sent. close() drops them; what was sent before comes before it.
    std::size_t queued_actions() const noexcept;

    ClientStats stats() const noexcept;

protected:
    std::string uri_;

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace chiral
