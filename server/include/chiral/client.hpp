// The policy side: connects to a PolicyServer (this one or the public Python one) and talks either dialect.
//
//     chiral::PolicyClient env("ws://robot:8765");
//     auto [obs, info] = env.connect().reset();
//     env.start_obs_stream(30);          // keeps latest_obs() fresh
//     env.start_action_dispatch(10);     // sends queued actions at 10 Hz
//     env.put_action(action);
//
// Threads. Every method may be called from any thread; requests are answered one at a time. Network input and output, the
// observation stream and the action dispatch run on threads of the client.
//
// Errors. ConnectionError when there is no connection, it breaks, or an answer does not come in time: the client is closed
// then and may connect() again. The server's bytes are trusted no more than the server trusts ours: an answer that is not
// well-formed is a ConnectionError that says why.
#pragma once

#include <chiral/engine.hpp>
#include <chiral/types.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

namespace chiral {

class ConnectionError : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

struct ClientOptions {
    /// How long connect() keeps trying; max(): for ever, as the documented client does.
    Duration connect_timeout = Duration::max();
    Duration retry_interval = std::chrono::milliseconds(100);
    /// How long one answer may take.
    Duration request_timeout = std::chrono::seconds(30);
    /// Largest message accepted from the server.
    std::size_t max_message_bytes = std::size_t{1} << 30;
    /// Actions that put_action() keeps for dispatch.
    std::size_t max_queued_actions = 256;
    /// Receives one line when connect() starts to wait for a server, and when a background stream ends on an error.
    /// Default: stderr.
    std::function<void(const std::string&)> log;
};

struct ClientStats {
    std::uint64_t observations{0};      ///< received, by request and by stream
    std::uint64_t bytes_received{0};
    std::uint64_t actions_sent{0};
    double last_round_trip{0.0};        ///< of the last observation, seconds from request sent to answer decoded
};

class PolicyClient {
public:
    explicit PolicyClient(std::string uri = "ws://localhost:8765", ClientOptions options = {});
    ~PolicyClient();
    PolicyClient(const PolicyClient&) = delete;
    PolicyClient& operator=(const PolicyClient&) = delete;

    /// Connects; tries again while nobody listens. Throws ConnectionError at the timeout, std::invalid_argument for a URI
    /// that is not ws://HOST[:PORT][/PATH]; a server that turns the client away (HTTP status other than 101) is a
    /// ConnectionError at once, with its status and reason. Returns *this.
    PolicyClient& connect();
    /// Closes with a WebSocket close handshake. Ends the streams. May be called twice.
    void close();
    bool connected() const noexcept;

    InfoMap get_metadata();
    std::pair<Observation, InfoMap> reset();
    Observation get_obs();
    /// Decodes into `obs`, reusing its memory: no allocation once its buffers have the size.
    void get_obs(Observation& obs);
    /// Legacy: sends the action and waits for the step response.
    StepResult step(const Action& action);
    void step(const Action& action, StepResult& result);  ///< reuses the memory of `result`
    /// Sends one action now; no answer is awaited. Attaches the capture times of the last observation as obs_timestamps,
    /// unless the action brings its own.
    void apply_action(const Action& action);

    /// Requests observations at `hz` on a thread of its own; a period is skipped while an answer is outstanding. Throws
    /// std::invalid_argument unless 0 < hz <= 10000, std::logic_error if a stream runs.
    void start_obs_stream(double hz);
    void stop_obs_stream();
    /// The newest streamed observation, shared and never changed afterwards; null before the first. Throws ConnectionError
    /// if the stream has ended on an error.
    std::shared_ptr<const Observation> latest_obs() const;
    /// Waits for a streamed observation other than `previous`; null at the timeout.
    std::shared_ptr<const Observation> wait_obs(const std::shared_ptr<const Observation>& previous, Duration timeout) const;

    /// Queues an action for dispatch. False if max_queued_actions are waiting: nothing is queued then.
    bool put_action(Action action);
    /// Sends one queued action per period, in order, on a thread of its own. Errors as start_obs_stream().
    void start_action_dispatch(double hz);
    void stop_action_dispatch();
    std::size_t queued_actions() const noexcept;

    ClientStats stats() const noexcept;

protected:
    std::string uri_;

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace chiral
