// SPDX-License-Identifier: Apache-2.0
#include "net/printable.hpp"
#include "net/standard_descriptors.hpp"
#include "net/thread_name.hpp"

#include <chiral/log.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <condition_variable>
#include <csignal>
#include <deque>
#include <mutex>
#include <new>
#include <optional>
#include <string_view>
#include <utility>

#include <poll.h>
#include <unistd.h>

namespace chiral {

using net::printable;

namespace {
constexpr std::chrono::milliseconds kLastWords{1000};
}  // namespace

struct Log::State {
    State(Sink taker, std::string before, int file) : sink(std::move(taker)), prefix(std::move(before)), descriptor(file) {}

    const Sink sink;
    const std::string prefix;
    const int descriptor;
    std::mutex mutex;  // guards what follows
    std::condition_variable said, passed_on;
    std::deque<std::string> lines;
    std::size_t bytes{0};
    std::uint64_t untold{0};         // left out, and the reader has not been told
    bool passing{false};             // a line is on its way out of the queue
    bool over{false};                // nothing more will be said
    std::atomic<bool> hurry{false};  // nor is anything worth waiting for
    std::atomic<std::uint64_t> left_out{0};

    bool done() const { return lines.empty() && untold == 0 && !passing; }
    void pass_on(const std::string& line) noexcept;
    void tell_left_out(std::uint64_t count) noexcept;
    void write(std::string_view text) noexcept;
};

Log::Log(Sink sink, std::string prefix, int to)
    : state_(std::make_shared<State>(std::move(sink), std::move(prefix), to)), thread_([state = state_] { work(*state); }) {}

Log::~Log() {
    const bool all = flush(kLastWords);
    {
        const std::lock_guard lock(state_->mutex);
        state_->over = true;
        state_->lines.clear();
        state_->untold = 0;
        state_->hurry = true;
    }
    state_->said.notify_all();
    const bool own_thread = thread_.get_id() == std::this_thread::get_id();
    // A write to a pipe that somebody else has just filled may not return; it touches nothing but the state.
    if (own_thread || (!all && !state_->sink)) thread_.detach();
    else thread_.join();
}

void Log::say(std::string line) noexcept {
    try {
        if (line.size() > kLongestLine) line.replace(kLongestLine - 3, std::string::npos, "...");
        {
            const std::lock_guard lock(state_->mutex);
            if (state_->over) return;
            if (state_->lines.size() < kMostLines && state_->bytes + line.size() <= kMostBytes) {
                const std::size_t size = line.size();
                state_->lines.push_back(std::move(line));
                state_->bytes += size;
            } else {
                ++state_->untold;
                state_->left_out.fetch_add(1, std::memory_order_relaxed);
            }
        }
        state_->said.notify_one();
    } catch (...) {  // no memory for a line: one that is left out, too
        state_->left_out.fetch_add(1, std::memory_order_relaxed);
    }
}

bool Log::flush(std::chrono::milliseconds at_most) noexcept {
    if (thread_.get_id() == std::this_thread::get_id()) return false;
    std::unique_lock lock(state_->mutex);
    return state_->passed_on.wait_for(lock, at_most, [&] { return state_->done(); });
}

std::uint64_t Log::left_out() const noexcept { return state_->left_out.load(std::memory_order_relaxed); }

void Log::work(State& state) {
    net::name_this_thread("chiral-log");
    // Who reads it may have gone: that is no reason for the program to end.
    sigset_t broken_pipe;
    sigemptyset(&broken_pipe);
    sigaddset(&broken_pipe, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &broken_pipe, nullptr);

    std::unique_lock lock(state.mutex);
    for (;;) {
        state.said.wait(lock, [&] { return !state.lines.empty() || state.untold > 0 || state.over; });
        if (state.lines.empty() && state.untold == 0) return;
        const std::uint64_t untold = state.lines.size() <= kMostLines / 2 ? std::exchange(state.untold, 0) : 0;
        std::optional<std::string> line;
        if (!state.lines.empty()) {
            line = std::move(state.lines.front());
            state.lines.pop_front();
            state.bytes -= line->size();
        }
        state.passing = true;
        lock.unlock();
        if (line) state.pass_on(*line);
        if (untold > 0) state.tell_left_out(untold);
        lock.lock();
        state.passing = false;
        if (state.done()) state.passed_on.notify_all();
    }
}

void Log::State::pass_on(const std::string& line) noexcept {
    try {
        if (sink) sink(line);
        else if (net::was_open(descriptor)) write(prefix + printable(line, kLongestLine) + '\n');
    } catch (...) {  // what the reader of a log cannot take must not end the program
    }
}

void Log::State::tell_left_out(std::uint64_t count) noexcept {
    try {
        pass_on("left out " + std::to_string(count) + " lines, which came faster than they were taken");
    } catch (const std::bad_alloc&) {  // no memory for the words: left_out() tells all the same
    }
}

// Waits for room, so that it can be told not to: a write to a full pipe cannot.
void Log::State::write(std::string_view text) noexcept {
    while (!text.empty() && !hurry) {
        constexpr int kLook = 50;  // milliseconds between looks at `hurry`
        pollfd entry{descriptor, POLLOUT, 0};
        const int ready = ::poll(&entry, 1, kLook);
        if (ready == 0 || (ready < 0 && errno == EINTR)) continue;
        if (ready < 0 || (entry.revents & (POLLERR | POLLNVAL)) != 0) return;
        // So much goes into a pipe that has room at all (pipe(7), "PIPE_BUF").
        const ssize_t written = ::write(descriptor, text.data(), std::min<std::size_t>(text.size(), PIPE_BUF));
        if (written < 0 && errno != EINTR && errno != EAGAIN) return;
        if (written > 0) text.remove_prefix(static_cast<std::size_t>(written));
    }
}

}  // namespace chiral
