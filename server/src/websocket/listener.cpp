// SPDX-License-Identifier: Apache-2.0
#include "websocket/listener.hpp"

#include "net/sockets.hpp"

#include <boost/asio/ip/v6_only.hpp>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <system_error>
#include <utility>

namespace chiral::websocket {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

/// One address that is listened on.
struct Listener::Door {
    explicit Door(asio::io_context& io) : acceptor(io.get_executor()), again(io.get_executor()) {}

    asio::basic_socket_acceptor<tcp, net::Link::executor_type> acceptor;
    net::Link::Timer again;
    bool failing{false};  // the last attempt to accept has, and that was said
    net::HandlerMemory wait_memory, pause_memory;
};

namespace {

std::system_error cannot_listen(const std::string& where, const error_code& error) {
    std::string advice;
    if (error == asio::error::address_in_use) advice = "; another process listens there, choose another port or 0 for any";
    if (error == asio::error::access_denied) advice = "; ports below 1024 need privileges";
    return std::system_error(static_cast<std::error_code>(error),
                             "chiral::PolicyServer: cannot listen on " + where + advice);
}

std::string text_of(const std::vector<Listener::Endpoint>& addresses, int port) {
    std::string text;
    for (const auto& address : addresses) text += (text.empty() ? "" : ", ") + address.address().to_string();
    return text + ":" + std::to_string(port);
}

// What this machine has not, though the name stands for it.
bool is_absent(const error_code& error) { return error.value() == EADDRNOTAVAIL || error.value() == EAFNOSUPPORT; }

// What is wrong with one connection that was waiting, not with us: accept(2), "Error handling".
bool concerns_one_connection(int error) {
    constexpr int such[] = {ECONNABORTED, EINTR,        EPROTO,     ENETDOWN,   ENOPROTOOPT,
                            EHOSTDOWN,    EHOSTUNREACH, EOPNOTSUPP, ENETUNREACH};
    return std::find(std::begin(such), std::end(such), error) != std::end(such);
}

}  // namespace

Listener::Listener(asio::io_context& io, Take take, LogLine log) : io_(io), take_(std::move(take)), log_(std::move(log)) {}

// Accepts that were cancelled lie in memory of the doors: they are let run before that goes. A loop that has run to its end has
// none left.
Listener::~Listener() {
    close();
    io_.restart();
    io_.poll();
}

void Listener::open(const std::string& host, int port) {
    tcp::resolver resolver(io_);
    error_code error;
    const auto found = resolver.resolve(host, std::to_string(port), tcp::resolver::passive, error);
    if (error || found.empty()) throw cannot_listen(host + ":" + std::to_string(port), error);
    std::vector<Endpoint> addresses;
    for (const auto& entry : found)
        if (std::find(addresses.begin(), addresses.end(), entry.endpoint()) == addresses.end())
            addresses.push_back(entry.endpoint());
    open(addresses, port);
}

void Listener::open(const std::vector<Endpoint>& addresses, int port) {
    // A port that is free at the first address may be taken at the next one.
    constexpr int kAttempts = 16;
    error_code error;
    for (int attempt = 0; attempt < (port == 0 ? kAttempts : 1); ++attempt) {
        if (bind_all(addresses, port, error)) return;
        if (error != asio::error::address_in_use) break;
    }
    throw cannot_listen(text_of(addresses, port), error);
}

bool Listener::bind_all(const std::vector<Endpoint>& addresses, int port, error_code& error) {
    doors_.clear();
    const bool both = std::any_of(addresses.begin(), addresses.end(), [](const auto& a) { return a.address().is_v4(); }) &&
                      std::any_of(addresses.begin(), addresses.end(), [](const auto& a) { return a.address().is_v6(); });
    error_code absent;
    for (const Endpoint& address : addresses) {
        auto door = std::make_unique<Door>(io_);
        auto& acceptor = door->acceptor;
        error.clear();
        net::Descriptor socket = net::open_socket(address.protocol().family());
        if (!socket) error.assign(errno, boost::system::system_category());
        if (!error) acceptor.assign(address.protocol(), socket.get(), error);
        if (!error) socket.release();
        if (!error) acceptor.non_blocking(true, error);
        if (!error) acceptor.set_option(asio::socket_base::reuse_address(true), error);
        // Otherwise "::" would take the port of 0.0.0.0 as well.
        if (!error && both && address.address().is_v6()) acceptor.set_option(asio::ip::v6_only(true), error);
        if (!error) acceptor.bind({address.address(), static_cast<unsigned short>(port)}, error);
        if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
        if (is_absent(error)) {
            absent = error;
            continue;
        }
        if (error) return false;
        if (port == 0) port = acceptor.local_endpoint().port();
        doors_.push_back(std::move(door));
    }
    error = absent;
    return !doors_.empty();
}

std::vector<Listener::Endpoint> Listener::endpoints() const {
    std::vector<Endpoint> all;
    for (const auto& door : doors_) all.push_back(door->acceptor.local_endpoint());
    return all;
}

int Listener::port() const { return doors_.front()->acceptor.local_endpoint().port(); }

void Listener::start() {
    for (const auto& door : doors_) wait(*door);
}

void Listener::close() noexcept {
    closed_ = true;
    for (const auto& door : doors_) {
        error_code ignored;  // nothing to do about a failure on the way out
        door->acceptor.close(ignored);
        door->again.cancel();
    }
}

// Waits in memory of its own, so that this cannot fail.
void Listener::wait(Door& door) noexcept {
    if (closed_) return;
    door.acceptor.async_wait(tcp::acceptor::wait_read, net::PooledHandler(door.wait_memory, [this, &door](error_code error) {
                                 if (error == asio::error::operation_aborted || closed_) return;
                                 on_ready(door);
                             }));
}

void Listener::pause(Door& door) noexcept {
    try {
        door.again.expires_after(std::chrono::milliseconds(100));
        door.again.async_wait(net::PooledHandler(door.pause_memory, [this, &door](error_code) { wait(door); }));
    } catch (const std::exception&) {  // no memory for a timer: then without a pause
        wait(door);
    }
}

// Once for each time that the system runs out of something, however long that takes.
void Listener::say_failing(Door& door, const char* why) noexcept {
    if (std::exchange(door.failing, true)) return;
    try {
        log_(std::string("cannot accept connections: ") + why);
    } catch (const std::exception&) {  // no memory for words
    }
}

void Listener::on_ready(Door& door) noexcept {
    constexpr int kAtOnce = 8;  // then the others have their turn
    try {
        for (int i = 0; i < kAtOnce && !closed_; ++i)
            if (!take_next(door)) return wait(door);
        wait(door);
    } catch (const std::system_error& error) {
        say_failing(door, error.what());
        pause(door);
    } catch (const std::exception&) {  // not even words for it
        pause(door);
    }
}

// False if none is waiting. Throws std::system_error if the system has no more of something.
bool Listener::take_next(Door& door) {
    net::Descriptor descriptor = net::accept_socket(door.acceptor.native_handle());
    if (!descriptor) {
        const int error = errno;
        if (error == EAGAIN || error == EWOULDBLOCK) return false;
        if (concerns_one_connection(error)) return true;
        throw std::system_error(error, std::system_category(), "accept");
    }
    door.failing = false;
    try {
        net::Link::Socket socket(io_.get_executor());
        socket.assign(door.acceptor.local_endpoint().protocol(), descriptor.get());
        descriptor.release();
        take_(std::move(socket));
    } catch (const std::exception& problem) {
        log_(std::string("cannot serve a connection: ") + problem.what());
    }
    return true;
}

}  // namespace chiral::websocket
