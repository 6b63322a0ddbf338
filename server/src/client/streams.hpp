// SPDX-License-Identifier: Apache-2.0
// What a client does in the background: it keeps the latest observation fresh and sends queued actions at their rate.
// Neither knows about the network; both are given functions that do. All methods may be called from any thread.
#pragma once

#include "client/guarded_log.hpp"
#include "client/observation_pool.hpp"
#include "client/paced_thread.hpp"

#include <chiral/client.hpp>

#include <cstdint>
#include <deque>
#include <vector>

namespace chiral::client {

class ObservationStream {
public:
    using Get = std::function<void(Observation&)>;

    explicit ObservationStream(LogLine log) : log_(std::move(log)) {}

    /// Forgets the latest observation and fills new ones with `get`, `hz` times a second.
    void start(double hz, Get get);
    void request_stop() { thread_.request_stop(); }
    void stop() { thread_.stop(); }

    struct Latest {
        std::shared_ptr<const Observation> observation;
        std::uint64_t number{0};  ///< counts the observations of the client, from 1
    };
    /// Throws ConnectionError if the stream has ended on an error.
    Latest latest() const;
    /// Waits for one other than `previous`; none at the deadline, or when no stream runs (any more).
    Latest wait(const std::shared_ptr<const Observation>& previous, TimePoint deadline) const;

private:
    bool fill(Observation& observation, const Get& get);
    bool withdraw();
    void publish(std::shared_ptr<const Observation> observation);
    void ended();
    void throw_error() const;

    LogLine log_;
    ObservationPool pool_;  // of the stream's thread

    mutable std::mutex mutex_;
    mutable std::condition_variable changed_;
    Latest latest_;
    bool withdrawn_{false};  // to be replaced at once, because nobody has it and there is no more to be lent

    PacedThread thread_{"the observation stream"};  // last: its thread uses what is above
};

class ActionDispatch {
public:
    using Message = std::vector<std::uint8_t>;
    using Send = std::function<void(Message&)>;

    ActionDispatch(std::size_t max_queued, LogLine log) : max_queued_(max_queued), log_(std::move(log)) {}

    /// Sends one message per period, in order. Those that are queued already come first.
    void start(double hz, Send send);
    void request_stop() { thread_.request_stop(); }
    void stop() { thread_.stop(); }

    /// False if the queue is full. Throws ConnectionError if the dispatch has ended on an error.
    bool put(Message message);
    /// Puts these in place of all that is queued, in one step: no message of before is sent after one of these. False if they
    /// are too many: nothing has changed then. Throws like put().
    bool replace(std::deque<Message> messages);
    void clear();
    /// What is not sent yet: with the message that is just being sent.
    std::size_t size() const;

    /// Between two episodes: nothing is sent, and what is queued or comes meanwhile is dropped.
    class Interval {
    public:
        /// Waits for a message that is being sent.
        explicit Interval(ActionDispatch& dispatch) : dispatch_(dispatch) { dispatch_.hold(+1); }
        ~Interval() { dispatch_.hold(-1); }
        Interval(const Interval&) = delete;
        Interval& operator=(const Interval&) = delete;

    private:
        ActionDispatch& dispatch_;
    };

private:
    class Taken;
    void ended();
    void throw_error() const;
    void hold(int by);

    const std::size_t max_queued_;
    LogLine log_;

    std::mutex sending_;  // held while a message is taken and sent; before mutex_
    int intervals_{0};    // under sending_

    mutable std::mutex mutex_;
    std::deque<Message> queue_;
    std::size_t taken_{0};  // out of the queue, and not sent yet: 0 or 1

    PacedThread thread_{"the action dispatch"};  // last: its thread uses what is above
};

}  // namespace chiral::client
