// SPDX-License-Identifier: Apache-2.0
#include "client/zenoh.hpp"

#include "client/outgoing_ring.hpp"
#include "client/received_messages.hpp"
#include "net/printable.hpp"
#include "net/thread_name.hpp"
#include "net/uri.hpp"
#include "net/zenoh.hpp"
#include "net/zenoh_keys.hpp"
#include "net/zenoh_login.hpp"

#include <chiral/wire.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace chiral::client {

namespace {

using Note = net::ZenohNote;
using namespace std::chrono_literals;

// How long a robot may take to say who it is, and how long nothing may move on a link before it counts as broken.
constexpr Duration patience = 2s;
// A hello is said again: the robot may not have subscribed yet, or not know that we have.
constexpr Duration hello_interval = 250ms;

// What Zenoh's threads have to do with. They may come a moment after the transport has gone.
struct Incoming {
    std::mutex mutex;  // guards what follows; held while the events are told
    std::condition_variable changed;
    Transport::Events* events{nullptr};  // null before it is open, and after
    std::size_t most_bytes{0};
    ReceivedMessages messages;
    std::atomic<std::size_t> phase{0};
    std::uint64_t answered{0};  // number of the last message of ours that was answered

    // While it is being opened: what the robot has said.
    bool opened{false};
    std::optional<std::string> refusal;

    void over(const std::string& reason) {
        if (Transport::Events* const told = std::exchange(events, nullptr)) told->over(reason);
        else if (!refusal) refusal = reason;
        changed.notify_all();
    }
    // Nothing is known of who says it: what is not expected is dropped, it may be for others.
    void deliver(const net::ZenohSample& sample) {
        if (events == nullptr || !events->message_due()) return;
        const std::size_t size = sample.size();
        if (size > most_bytes)
            return over("the server sent a message of " + std::to_string(size) + " bytes, more than the " +
                        std::to_string(most_bytes) + " accepted");
        ReceivedMessage& message = messages.next();
        const std::size_t before = phase;  // the allocator's memory begins at 0
        const auto memory = message.bytes.prepare(before + size);
        auto* const bytes = static_cast<std::uint8_t*>(memory.data()) + before;
        sample.copy_to(bytes);
        message.bytes.commit(before + size);
        events->received({wire::Bytes(bytes, size)}, message);
    }
};

class Zenoh final : public Transport {
public:
    Zenoh(const net::ZenohUri& uri, const ClientOptions& options, Events& events)
        : uri_(uri), keys_{uri.prefix}, options_(options), events_(events), incoming_(std::make_shared<Incoming>()) {
        incoming_->most_bytes = options.max_message_bytes;
    }
    ~Zenoh() override {
        if (!thread_.joinable()) return;
        close(close_code::normal, "", false);
        thread_.join();
    }

    std::optional<OpenFailure> open(TimePoint deadline) override {
        try {
            return meet(std::min<TimePoint>(deadline, Clock::now() + patience));
        } catch (const net::ZenohError& error) {
            return OpenFailure{error.what(), false};
        }
    }
    void abort_open() override {
        const std::lock_guard lock(incoming_->mutex);
        incoming_->over("the attempt was given up");
    }

    bool send(std::vector<std::uint8_t>& message, bool counted) override {
        if (!ring_.put(message, counted)) return false;
        wake();
        return true;
    }
    bool ended_by_server() const noexcept override { return false; }  // over() is told at once
    void read_next(std::size_t phase) override { incoming_->phase = phase; }
    void close(std::uint16_t code, const std::string& reason, bool flush) override {
        {
            const std::lock_guard lock(mutex_);
            if (closing_) return;
            closing_ = true;
            flush_ = flush;
            close_code_ = code;
            close_reason_ = reason;
        }
        changed_.notify_all();
    }

private:
    std::optional<OpenFailure> meet(TimePoint deadline);
    std::vector<std::string> find_robots_here(TimePoint deadline) const;
    std::optional<OpenFailure> meet_ours(const std::string& robot, TimePoint deadline);
    std::optional<OpenFailure> meet_documented(TimePoint deadline);
    std::optional<OpenFailure> ask_until_opened(TimePoint deadline, Duration interval, const std::function<void()>& ask);
    void start();
    void wake() {
        { const std::lock_guard lock(mutex_); }  // whoever waits has seen the ring before, or sees it now
        changed_.notify_all();
    }
    void work();
    bool send_waiting();
    void put(std::span<const std::uint8_t> message, Note::Kind kind, std::uint16_t code = 0);

    const net::ZenohUri uri_;
    const net::ZenohKeys keys_;
    const ClientOptions& options_;
    Events& events_;
    const std::shared_ptr<Incoming> incoming_;

    std::optional<net::ZenohSession> session_;
    std::vector<net::ZenohDeclaration> declarations_;
    std::optional<net::ZenohPublisher> to_robot_;
    bool ours_{false};         // the robot understands notes
    std::uint64_t number_{0};  // of the message that was sent last

    OutgoingRing<ring_size> ring_;
    Outgoing outgoing_;
    std::mutex mutex_;  // guards what follows; nothing else is locked under it
    std::condition_variable changed_;
    bool closing_{false};
    bool flush_{false};
    std::uint16_t close_code_{0};
    std::string close_reason_;
    std::thread thread_;
};

// ---- opening ----

std::optional<Transport::OpenFailure> Zenoh::meet(TimePoint deadline) {
    try {
        session_.emplace(zenoh_configuration(uri_, options_.bearer_token), options_.zenoh_config_file);
    } catch (const net::ZenohError& error) {
        return OpenFailure{no_zenoh_session(error.what(), options_.bearer_token), false};
    }
    to_robot_.emplace(session_->publish(keys_.to_robot()));
    std::vector<std::string> robots = find_robots_here(deadline);
    // The answer tells of who has subscribed, too. Ours show their tokens first: whoever has none now has none.
    const bool somebody = to_robot_->matching();
    if (somebody && robots.empty()) robots = find_robots_here(deadline);
    if (robots.size() > 1)
        return OpenFailure{
            std::to_string(robots.size()) + " robots are under the prefix '" + uri_.prefix + "', expected one", false};
    if (robots.size() == 1) return meet_ours(robots.front(), deadline);
    if (somebody && uri_.wish == net::ZenohHello::Wish::control) return meet_documented(deadline);
    return OpenFailure{"no robot is there under the prefix '" + uri_.prefix + "'", false};
}

std::vector<std::string> Zenoh::find_robots_here(TimePoint deadline) const {
    std::vector<std::string> robots;
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    session_->find_tokens(keys_.robot_token(net::kEveryone), static_cast<std::uint64_t>(std::max<std::int64_t>(left, 1)),
                          [&](const net::ZenohSample& sample) {
                              if (!sample.gone()) robots.emplace_back(sample.name());
                          });
    return robots;
}

std::optional<Transport::OpenFailure> Zenoh::meet_ours(const std::string& robot, TimePoint deadline) {
    ours_ = true;
    const std::string me = session_->id();
    to_robot_.emplace(session_->publish(keys_.to_robot(robot, me)));
    declarations_.push_back(
        session_->subscribe(keys_.from_robot(robot, me), [in = incoming_](const net::ZenohSample& sample) {
            const auto note = Note::decoded(sample.attachment());
            if (!note) return;
            const std::lock_guard lock(in->mutex);
            if (note->kind == Note::Kind::welcome) in->opened = true;
            if (note->kind == Note::Kind::message && note->number > in->answered) {
                in->answered = note->number;
                in->deliver(sample);
            }
            if (note->kind == Note::Kind::end) {
                std::string words(std::min<std::size_t>(sample.size(), 4096), '\0');
                if (sample.size() == words.size()) sample.copy_to(reinterpret_cast<std::uint8_t*>(words.data()));
                in->over("the server closed the connection with code " + std::to_string(note->code) + ": " +
                         net::printable(words));
            }
            in->changed.notify_all();
        }));
    declarations_.push_back(
        session_->watch_tokens(keys_.robot_token(robot), [in = incoming_](const net::ZenohSample& sample) {
            if (!sample.gone()) return;
            const std::lock_guard lock(in->mutex);
            in->over("the robot is gone from the network, or cannot be reached any more");
        }));
    declarations_.push_back(session_->token(keys_.client_token(robot, me)));
    const std::string hello = net::ZenohHello{uri_.wish, options_.bearer_token}.text();
    return ask_until_opened(deadline, hello_interval, [&] {
        put({reinterpret_cast<const std::uint8_t*>(hello.data()), hello.size()}, Note::Kind::hello);
    });
}

std::optional<Transport::OpenFailure> Zenoh::meet_documented(TimePoint deadline) {
    declarations_.push_back(session_->subscribe(keys_.from_robot(), [in = incoming_](const net::ZenohSample& sample) {
        const std::lock_guard lock(in->mutex);
        if (in->opened) return in->deliver(sample);
        std::vector<std::uint8_t> message(sample.size());
        sample.copy_to(message.data());
        wire::Response response;
        try {
            wire::decode_response(wire::Bytes(message), response);
        } catch (const wire::DecodeError&) {  // nothing that we have asked for
            return;
        }
        in->opened = response.type == wire::ResponseType::metadata_response;
        in->changed.notify_all();
    }));
    declarations_.push_back(to_robot_->watch_matching([in = incoming_](bool matching) {
        if (matching) return;
        const std::lock_guard lock(in->mutex);
        in->over("the server does not listen to its key any more");
    }));
    std::vector<std::uint8_t> request;
    wire::encode_request(wire::RequestType::metadata, request);
    // Once only, or the second answer would pass for one to a later request.
    return ask_until_opened(deadline, Duration::max(), [&] { put(request, Note::Kind::message); });
}

std::optional<Transport::OpenFailure> Zenoh::ask_until_opened(TimePoint deadline, Duration interval,
                                                              const std::function<void()>& ask) {
    for (;;) {
        ask();
        const TimePoint now = Clock::now();
        const TimePoint again = interval < deadline - now ? now + interval : deadline;
        std::unique_lock lock(incoming_->mutex);
        incoming_->changed.wait_until(lock, again, [&] { return incoming_->opened || incoming_->refusal; });
        if (incoming_->refusal) return OpenFailure{*incoming_->refusal, true};
        if (incoming_->opened) break;
        if (Clock::now() >= deadline) return OpenFailure{"the robot is there, but does not answer", false};
    }
    start();
    return std::nullopt;
}

void Zenoh::start() {
    thread_ = std::thread([this] {
        net::name_this_thread("chiral-zenoh");
        work();
    });
    const std::lock_guard lock(incoming_->mutex);
    if (incoming_->refusal) events_.over(*incoming_->refusal);  // in between
    else incoming_->events = &events_;
}

// ---- the thread ----

void Zenoh::put(std::span<const std::uint8_t> message, Note::Kind kind, std::uint16_t code) {
    if (!ours_) return to_robot_->put(message, {});
    const auto now = static_cast<std::uint64_t>(Clock::now().time_since_epoch().count());
    to_robot_->put(message, Note{kind, code, ++number_, now}.encoded());
}

// False: it has failed, and everybody knows.
bool Zenoh::send_waiting() {
    try {
        while (ring_.take(outgoing_)) {
            put(outgoing_.bytes, Note::Kind::message);
            events_.sent(outgoing_.counted);
        }
        return true;
    } catch (const std::exception& error) {
        const std::lock_guard lock(incoming_->mutex);
        incoming_->over(std::string("the connection broke while sending: ") + error.what());
        return false;
    }
}

void Zenoh::work() {
    bool good = true;
    for (;;) {
        {
            std::unique_lock lock(mutex_);
            changed_.wait(lock, [&] { return closing_ || !ring_.empty(); });
            if (closing_) break;
        }
        good = good && send_waiting();
        if (!good) {  // nothing more can be sent; whoever has it closes it
            std::unique_lock lock(mutex_);
            changed_.wait(lock, [&] { return closing_; });
            break;
        }
    }
    {
        const std::lock_guard lock(incoming_->mutex);
        incoming_->events = nullptr;
    }
    // Nobody changes the reasons any more.
    if (good && flush_) good = send_waiting();
    try {
        const auto* const words = reinterpret_cast<const std::uint8_t*>(close_reason_.data());
        if (good && ours_) put({words, close_reason_.size()}, Note::Kind::end, close_code_);
    } catch (const std::exception&) {  // the robot will see that our token is gone
    }
    declarations_.clear();
    to_robot_.reset();
    session_.reset();
    events_.ended();
}

class ZenohEndpoint final : public Endpoint {
public:
    ZenohEndpoint(const std::string& address, const ClientOptions& options)
        : uri_(net::parse_zenoh_uri(address)), options_(options) {}
    const std::string& text() const noexcept override { return uri_.text; }
    std::unique_ptr<Transport> transport(Transport::Events& events) const override {
        return std::make_unique<Zenoh>(uri_, options_, events);
    }

private:
    const net::ZenohUri uri_;
    const ClientOptions& options_;
};

}  // namespace

std::string zenoh_configuration(const net::ZenohUri& uri, const std::string& token) {
    const auto microseconds = std::chrono::duration_cast<std::chrono::microseconds>(patience).count();
    const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(patience).count();
    return "{mode: 'client', connect: {endpoints: [" + net::json_text(uri.endpoint) +
           "], timeout_ms: 0, exit_on_failure: true}, scouting: {multicast: {enabled: false}, gossip: {enabled: false}}, "
           "transport: {auth: " +
           net::zenoh_login(token) + ", unicast: {open_timeout: " + std::to_string(milliseconds) +
           "}, link: {tx: {lease: " + std::to_string(net::kZenohLeaseMs) +
           ", queue: {congestion_control: {block: {wait_before_close: " + std::to_string(microseconds) + "}}}}}}}";
}

std::string no_zenoh_session(const std::string& why, const std::string& token) {
    const std::string said = why.substr(0, why.find_last_not_of(" !") + 1);
    return said + (token.empty() ? ", or a token is asked for" : ", or the token is wrong, or none is asked for");
}

std::unique_ptr<Endpoint> zenoh_endpoint(const std::string& address, const ClientOptions& options) {
    return std::make_unique<ZenohEndpoint>(address, options);
}

}  // namespace chiral::client
