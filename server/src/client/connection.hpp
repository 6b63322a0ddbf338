// SPDX-License-Identifier: Apache-2.0
// Requests and answers over one transport, as calls that wait. Used for one connection and then thrown away.
//
// One request is outstanding at a time; threads that ask take turns in the order in which they came. Actions pass them by:
// they are sent while an answer is outstanding. When the connection is over, every call that waits ends with a
// ConnectionError that says why.
//
// The answer is decoded on the thread that asked, while the I/O thread stays free to send the actions that come meanwhile. The
// caller's observation borrows its pixels from the memory that the message was received in. A float must be where floats may
// be, so that memory begins where the payload will be aligned if its header is as long as the one before; pixels for which
// that fails are copied.
#pragma once

#include "client/transport.hpp"

#include <chiral/client.hpp>
#include <chiral/wire.hpp>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace chiral::client {

/// What a client counts over all its connections. See ClientStats.
struct Counters {
    std::atomic<std::uint64_t> observations{0};
    std::atomic<std::uint64_t> bytes_received{0};
    std::atomic<std::uint64_t> actions_sent{0};
    std::atomic<double> last_round_trip{0.0};
};

/// The time `duration` from now; the end of time if it is further away than that.
TimePoint time_after(Duration duration);
/// "0.25 s"
std::string seconds_text(Duration duration);

class Connection final : private Transport::Events {
public:
    Connection(const Endpoint& endpoint, const ClientOptions& options, Counters& counters);

    std::optional<Transport::OpenFailure> open(TimePoint deadline) { return transport_->open(deadline); }
    void abort_open() { transport_->abort_open(); }

    bool over() const;
    /// An observation has been received, so many seconds after it was asked for.
    void observed(double round_trip) noexcept {
        counters_.last_round_trip = round_trip;
        ++counters_.observations;
    }
    /// See Transport::wait_frame(). 0 is the deadline's; the end of the connection is a ConnectionError.
    std::uint64_t wait_frame(const std::string& camera, std::uint64_t after, TimePoint deadline);
    /// See Transport::show(). Throws ConnectionError when the connection is over, as far as is known.
    bool show(const std::string& camera, CameraInfo& info);
    bool reads_directly() const noexcept { return transport_->reads_directly(); }
    /// Queues an action for sending; `message` gets back memory to reuse. Waits while the queue is full.
    void send_action(std::vector<std::uint8_t>& message);
    /// Makes all calls that wait, and all later ones, fail. Sends what is queued and begins the closing handshake.
    void begin_close();
    /// Returns when the handshake is done or its time is over.
    void wait_closed();
    /// Closes because of what the server did, and throws ConnectionError.
    [[noreturn]] void fail(std::uint16_t code, const std::string& reason);

    /// Throws std::logic_error if this thread asks already, and waits: its lookout must not. Its turn would never come.
    void require_not_asking() const;

    /// A turn: one request and its answer.
    class Exchange {
    public:
        /// Waits for its turn. Throws like require_not_asking().
        explicit Exchange(Connection& connection);
        ~Exchange();
        Exchange(const Exchange&) = delete;
        Exchange& operator=(const Exchange&) = delete;

        /// What the server still lends: see Transport.
        std::optional<unsigned> loans_left() const noexcept { return connection_.transport_->loans_left(); }
        /// To be filled with the request.
        std::vector<std::uint8_t>& message() noexcept { return connection_.request_; }
        /// Sends it and waits. The bytes stay until the exchange is destroyed.
        wire::Message perform(wire::RequestType type, wire::ResponseType expected);
        /// What keeps them for longer.
        Loan& memory() noexcept { return *connection_.answer_memory_; }
        /// To decode the answer into.
        wire::Response& response() noexcept { return connection_.response_; }

    private:
        /// That this thread asks, also while it waits for its turn.
        class Asking {
        public:
            explicit Asking(const Connection& connection);
            Asking(const Asking&) = delete;
            ~Asking();

            const Connection& on;
            const Asking* const before;
        };

        friend class Connection;
        static thread_local const Asking* innermost_;
        const Asking asking_;
        Connection& connection_;
    };

private:
    bool message_due() override;
    void received(const wire::Message& message, Loan& memory) override;
    void sent(bool action) override;
    void over(std::string reason) override;
    void ended() override;

    void end(std::unique_lock<std::mutex>& lock, std::string reason);
    template <class Condition>
    bool wait(std::unique_lock<std::mutex>& lock, std::condition_variable& told, TimePoint deadline, Condition condition);
    [[noreturn]] void throw_over(const std::string& expected) const;
    template <class Look>
    auto in_its_memory(Look look);
    void hear_the_end(std::unique_lock<std::mutex>& lock, TimePoint deadline);
    void send(std::unique_lock<std::mutex>& lock, std::vector<std::uint8_t>& message, bool action, TimePoint deadline);

    const std::string address_;
    const Duration request_timeout_;
    const Duration reset_timeout_;
    Counters& counters_;

    // For all below.
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::condition_variable room_;  // in the transport's ring; on its own, or each message sent would wake who asks
    bool over_{false};
    std::string reason_;
    bool ended_{false};
    std::uint64_t next_ticket_{0};
    std::uint64_t serving_{0};
    enum class Answer { none_due, due, here } answer_{Answer::none_due};
    wire::Message answer_message_;
    Loan* answer_memory_{nullptr};

    // Of the thread whose turn it is.
    std::vector<std::uint8_t> request_;
    wire::Response response_;

    const std::unique_ptr<Transport> transport_;  // last: its thread uses what is above
};

}  // namespace chiral::client
