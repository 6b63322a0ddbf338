// SPDX-License-Identifier: Apache-2.0
#include "client/local.hpp"

#include "client/direct.hpp"
#include "client/frame_bell.hpp"
#include "client/network_thread.hpp"
#include "client/outgoing_ring.hpp"
#include "client/shared_memory.hpp"
#include "net/packets.hpp"
#include "net/printable.hpp"

#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string_view>
#include <thread>
#include <utility>

namespace chiral::client {

using net::PacketKind;
using net::PacketOutcome;

namespace {

constexpr std::size_t longest_text = 256;  // of what the server says

// A server that is gone does not hold up close() for longer.
constexpr Duration longest_close = std::chrono::seconds(2);

struct LocalAddress {
    std::string text;
    std::string path;
    std::string wants{"control"};
};

class Local final : public Transport {
public:
    Local(const LocalAddress& address, const ClientOptions& options, Events& events)
        : address_(address),
          close_timeout_(std::min(options.request_timeout, longest_close)),
          max_message_bytes_(options.max_message_bytes),
          events_(events),
          bell_(options.busy_poll) {}
    ~Local() override {
        if (thread_.joinable()) {
            asio::post(context_, [this] {
                closing_ = true;
                drop();
            });
            thread_.join();
        }
        if (current_ != nullptr) current_->drop_ref();
    }

    std::optional<OpenFailure> open(TimePoint deadline) override;
    void abort_open() override { context_.stop(); }

    bool send(std::vector<std::uint8_t>& message, bool counted) override {
        if (!ring_.put(message, counted)) return false;
        asio::post(context_, [this] { pump(); });
        return true;
    }
    bool ended_by_server() const noexcept override {
        pollfd descriptor{handle_, POLLRDHUP, 0};
        return poll(&descriptor, 1, 0) > 0;
    }
    void read_next(std::size_t) override {
        // Here and not on the thread: what is given back must be on its way before the next request is.
        if (current_ != nullptr) std::exchange(current_, nullptr)->drop_ref();
        asio::post(context_, [this] {
            if (!closing_) read_some();
        });
    }
    std::optional<unsigned> loans_left() const noexcept override {
        return net::kMostLoans - std::min(lender_->held(), net::kMostLoans);
    }
    bool show(const std::string& camera, CameraInfo& info) override { return direct_ && direct_->show(camera, info); }
    bool reads_directly() const noexcept override { return direct_ != nullptr; }
    std::uint64_t wait_frame(const std::string& camera, std::uint64_t after, TimePoint deadline) override {
        return bell_.wait(*lender_, direct_.get(), camera, after, deadline);
    }
    void close(std::uint16_t code, const std::string& reason, bool flush) override {
        asio::post(context_, [this, code, reason, flush] { begin_close(code, reason, flush); });
    }

private:
    // ---- opening: all on the thread that calls open() ----

    std::optional<OpenFailure> receive(net::PacketReader& reader, TimePoint deadline);
    std::optional<OpenFailure> shake_hands(net::PacketReader& reader, TimePoint deadline);
    std::optional<OpenFailure> sit_down(net::PacketReader& reader, TimePoint deadline);
    void start();

    // ---- everything below runs on the I/O thread ----

    void read_some() {
        socket_.async_wait(asio::posix::stream_descriptor::wait_read, [this](const asio::error_code& error) {
            if (!error) read();
        });
    }

    // Until a message is complete: then the reader has it, and reading goes on with read_next().
    void read() {
        constexpr int at_once = 16;
        for (int left = at_once;;) {
            switch (reader_.read(handle_)) {
                case PacketOutcome::done: break;
                case PacketOutcome::would_wait: return read_some();
                case PacketOutcome::ended: return over("the server ended the connection without a word");
                case PacketOutcome::broken: return over(std::string("the connection broke: ") + std::strerror(errno));
            }
            if (closing_ && --left > 0) continue;  // until the end
            if (closing_) return read_some();      // whoever floods does not keep the timer from its turn
            if (!take_packet()) return;
        }
    }

    bool take_packet() {
        const PacketKind kind = reader_.kind();
        if (kind == PacketKind::close) {
            over(closed_by_server());
            return false;
        }
        if (kind == PacketKind::bell) return hear_bell();
        if (kind != PacketKind::part && kind != PacketKind::message) return violation("a packet of an unknown kind");
        if (!events_.message_due()) return violation("what nobody asked for");
        if (current_ == nullptr) current_ = &messages_.next(lender_);
        std::vector<std::uint8_t>& bytes = current_->bytes;
        const net::PacketBytes body = reader_.body();
        if (body.size() > max_message_bytes_ - std::min(bytes.size(), max_message_bytes_))
            return violation("a message of more than the " + std::to_string(max_message_bytes_) + " bytes accepted");
        bytes.insert(bytes.end(), body.begin(), body.end());
        if (kind == PacketKind::part) return true;
        try {
            net::read_lent_message(bytes, lender_->memory(), current_->content);
        } catch (const std::runtime_error& error) {
            current_->content.loan = 0;
            return violation(error.what());
        }
        if (current_->content.loan != 0) lender_->took();
        events_.received({current_->content.head, current_->content.pieces}, *current_);
        return false;
    }

    bool hear_bell() {
        const std::optional<net::BellAnswer> answer = net::read_bell_answer(reader_.body());
        if (!answer) return violation("a bell without its numbers");
        bell_.ring(*answer);
        return true;
    }

    std::string closed_by_server() const {
        const std::string_view lines = reader_.text();
        const std::string reason = net::printable(net::text_field(lines, "reason").value_or(""), longest_text);
        const auto code = net::number_field(lines, "code");
        if (!code) return "the server closed the connection and gave no reason";
        return "the server closed the connection with code " + std::to_string(*code) + (reason.empty() ? "" : ": ") + reason;
    }

    void over(std::string reason) {
        if (!std::exchange(closing_, true)) events_.over(std::move(reason));
        drop();
    }

    bool violation(const std::string& what) {
        events_.over("the server sent " + what);
        begin_close(close_code::protocol_error, what, false);
        return false;
    }

    void pump() {
        if (dropped_ || (closing_ && !flush_)) return;
        while (!waiting_for_room_) {
            if (!lender_->send_owed()) return wait_for_room();
            if (!sending_.under_way) {
                if (!ring_.take(sending_.message)) break;
                sending_.under_way = true;
                sending_.piece = sending_.message.bytes;
                sending_.writer.begin({&sending_.piece, 1});
            }
            switch (sending_.writer.write(handle_)) {
                case PacketOutcome::done: break;
                case PacketOutcome::would_wait: return wait_for_room();
                default: return write_failed();
            }
            sending_.under_way = false;
            events_.sent(sending_.message.counted);
        }
        if (close_due_) say_goodbye();
    }

    void wait_for_room() {
        waiting_for_room_ = true;
        socket_.async_wait(asio::posix::stream_descriptor::wait_write, [this](const asio::error_code& error) {
            waiting_for_room_ = false;
            if (!error) pump();
        });
    }

    // A server that has closed has said why, as a rule: that is to be read.
    void write_failed() {
        if (closing_) return drop();
        if (errno == EPIPE || errno == ECONNRESET) return read();
        over(std::string("the connection broke while sending: ") + std::strerror(errno));
    }

    void begin_close(std::uint16_t code, const std::string& reason, bool flush_first) {
        if (closing_) return;
        closing_ = true;
        flush_ = flush_first;
        close_due_ = true;
        goodbye_ = "code=" + std::to_string(code) + "\nreason=" + net::printable(reason) + '\n';
        timer_.expires_after(std::chrono::duration_cast<std::chrono::steady_clock::duration>(close_timeout_));
        timer_.async_wait([this](const asio::error_code& error) {
            if (!error) drop();
        });
        flush_ ? pump() : say_goodbye();
    }

    // Then the server closes the connection.
    void say_goodbye() {
        if (dropped_) return;
        close_due_ = flush_ = false;
        if (net::send_packet(handle_, PacketKind::close, goodbye_) == PacketOutcome::broken) return drop();
        read();
    }

    // Ends what is still under way, and with it the thread.
    void drop() {
        if (std::exchange(dropped_, true)) return;
        lender_->end();
        asio::error_code ignored;
        socket_.close(ignored);
        timer_.cancel();
        work_.reset();
        bell_.end();
    }

    const LocalAddress address_;
    const Duration close_timeout_;
    const std::size_t max_message_bytes_;
    Events& events_;

    asio::io_context context_{1};
    std::optional<asio::executor_work_guard<asio::io_context::executor_type>> work_;
    asio::posix::stream_descriptor socket_{context_};
    asio::steady_timer timer_{context_};
    std::thread thread_;
    int handle_{-1};  // of the socket, for other threads

    std::shared_ptr<Lender> lender_;
    std::shared_ptr<DirectSeat> direct_;  // of a client that reads by itself
    net::PacketReader reader_;
    LentMessages messages_;
    LentMessage* current_{nullptr};  // being received, or what the caller has
    OutgoingRing<ring_size> ring_;
    struct {
        Outgoing message;
        net::PacketBytes piece;
        net::PacketWriter writer;
        bool under_way{false};
    } sending_;
    FrameBell bell_;
    std::string goodbye_;
    bool waiting_for_room_{false};
    bool closing_{false};    // over, for whatever reason: over() has been told, or close() was called
    bool flush_{false};      // but the ring is still to be sent
    bool close_due_{false};  // and goodbye is still to be said
    bool dropped_{false};
};

std::optional<Transport::OpenFailure> Local::open(TimePoint deadline) {
    net::Descriptor socket = net::open_packet_socket();
    if (!socket) return OpenFailure{std::string("no socket: ") + std::strerror(errno), false};
    if (!net::connect_packet_socket(socket.get(), address_.path)) {
        // ENOENT, ECONNREFUSED: no server yet, or no longer. EAGAIN: many want to connect.
        const bool later = errno == ENOENT || errno == ECONNREFUSED || errno == EAGAIN;
        return OpenFailure{std::strerror(errno), !later};
    }
    handle_ = socket.get();
    socket_.assign(socket.release());
    const std::string hello = "version=" + std::to_string(net::kLocalVersion) + "\nwants=" + address_.wants + "\ndirect=1\n";
    if (net::send_packet(handle_, PacketKind::hello, hello) == PacketOutcome::broken && errno != EPIPE)
        return OpenFailure{std::string("cannot say hello: ") + std::strerror(errno), false};

    work_.emplace(context_.get_executor());  // it does not run out between two packets: only abort_open() stops it
    net::PacketReader reader(true);
    if (auto failure = receive(reader, deadline)) return failure;
    if (auto failure = shake_hands(reader, deadline)) return failure;
    start();
    return std::nullopt;
}

std::optional<Transport::OpenFailure> Local::receive(net::PacketReader& reader, TimePoint deadline) {
    std::optional<PacketOutcome> outcome;
    socket_.async_wait(asio::posix::stream_descriptor::wait_read, [&](const asio::error_code& error) {
        if (!error) outcome = reader.read(handle_);
    });
    while (!outcome && context_.run_one_until(deadline) > 0) {}
    if (!outcome) return OpenFailure{"no answer in time", false};
    if (*outcome != PacketOutcome::done) return OpenFailure{"the server hung up during the handshake", false};
    return std::nullopt;
}

std::optional<Transport::OpenFailure> Local::shake_hands(net::PacketReader& reader, TimePoint deadline) {
    if (reader.kind() == PacketKind::refusal)
        return OpenFailure{"the server refuses: " + net::printable(reader.text(), longest_text), true};
    if (reader.kind() != PacketKind::welcome) return OpenFailure{"the server does not speak the local transport", true};
    try {
        const net::Welcome welcome = net::Welcome::parse(reader.text());
        lender_ = std::make_shared<Lender>(handle_, reader.take_descriptor(), welcome);
        if (welcome.direct) return sit_down(reader, deadline);
    } catch (const std::runtime_error& error) {
        return OpenFailure{error.what(), true};
    }
    return std::nullopt;
}

// Throws std::runtime_error for a server that says something else than it should.
std::optional<Transport::OpenFailure> Local::sit_down(net::PacketReader& reader, TimePoint deadline) {
    if (auto failure = receive(reader, deadline)) return failure;
    if (reader.kind() != PacketKind::direct) return OpenFailure{"the server gives no page for direct reading", true};
    const net::Descriptor page = reader.take_descriptor();
    const auto seat =
        std::make_shared<DirectSeat>(lender_, net::read_direct_layout(reader.body(), lender_->memory().size()), page);
    if (net::send_packet(handle_, PacketKind::direct, net::PacketBytes()) != PacketOutcome::done)
        return OpenFailure{"the server hung up during the handshake", false};
    if (auto failure = receive(reader, deadline)) return failure;
    const auto occupant = reader.kind() == PacketKind::direct ? net::read_occupant(reader.body()) : std::nullopt;
    if (!occupant) return OpenFailure{"the server does not say whether its page is sealed", true};
    if (*occupant == 0) return std::nullopt;  // it goes on without
    seat->admitted(*occupant);
    direct_ = seat;
    return std::nullopt;
}

void Local::start() {
    context_.restart();
    read_some();
    thread_ = network_thread(
        events_, [this] { context_.run(); },
        [this] {
            lender_->end();
            asio::error_code ignored;
            socket_.close(ignored);
            bell_.end();
        });
}

[[noreturn]] void refuse(const std::string& text, const std::string& problem) {
    throw std::invalid_argument("address '" + net::printable(text, longest_text) + "': " + problem +
                                ", expected unix:///PATH, or unix:///PATH?takeover=1 or ?observe=1");
}

LocalAddress parse(const std::string& text) {
    constexpr std::string_view scheme = "unix://";
    LocalAddress address;
    address.text = net::printable(text, longest_text);
    const std::string_view rest = std::string_view(text).substr(scheme.size());
    const std::size_t end = std::min(rest.find('?'), rest.size());
    const std::string_view query = rest.substr(end);
    address.path = rest.substr(0, end);
    if (address.path.size() < 2 || address.path.front() != '/') refuse(text, "its path does not begin with a slash");
    if (address.path.find('\0') != std::string::npos) refuse(text, "its path has a zero in it");
    constexpr std::size_t longest = 107;  // of what fits in sockaddr_un
    if (address.path.size() > longest)
        refuse(text, "its path is " + std::to_string(address.path.size()) + " bytes, the system takes at most " +
                         std::to_string(longest));
    if (query == "?takeover=1") address.wants = "takeover";
    else if (query == "?observe=1") address.wants = "observe";
    else if (!query.empty()) refuse(text, "nothing is known of '" + net::printable(query, longest_text) + "'");
    return address;
}

class LocalEndpoint final : public Endpoint {
public:
    LocalEndpoint(const std::string& address, const ClientOptions& options) : address_(parse(address)), options_(options) {}
    const std::string& text() const noexcept override { return address_.text; }
    std::unique_ptr<Transport> transport(Transport::Events& events) const override {
        return std::make_unique<Local>(address_, options_, events);
    }

private:
    const LocalAddress address_;
    const ClientOptions& options_;
};

}  // namespace

std::unique_ptr<Endpoint> local_endpoint(const std::string& address, const ClientOptions& options) {
    return std::make_unique<LocalEndpoint>(address, options);
}

}  // namespace chiral::client
